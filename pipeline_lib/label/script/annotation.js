// What is said of one frame: animals with points, with undo and redo. Nothing here is shown.
//
// A point's state is `visible`, `hidden`, `absent` (labelled as absent), or one of
// two of which nothing is stored: `open`, of which nothing was said yet, and `suggested`, a prediction
// that is too uncertain to be taken over until somebody accepts it.

export const UNIQUE = "single";
const MOST_STEPS = 200;
const STORED = ["visible", "hidden", "absent"];
const round = (value) => Math.round(value * 100) / 100;
const nowhere = (state) => ({ x: null, y: null, state });

// Tell whether a point has a position.
export const hasPlace = (point) => Number.isFinite(point?.x);

export class Annotation {
  // project: bodyparts, unique, individuals, several, pcutoff, symmetries. found: what the server knows.
  constructor(project, found) {
    this.project = project;
    this.origin = found.origin;
    this.base = { author: found.author, time: found.time };
    this.others = found.others ?? [];
    this.animals = found.origin === "prediction" ? this.#adopt(found.keypoints) : this.#read(found.keypoints);
    this.past = [];
    this.future = [];
    this.isEmpty = found.origin === "correction" && !this.animals.length;
    this.#complete();
    this.first = this.#copy();
  }

  partsOf(animal) {
    const { bodyparts, unique, several } = this.project;
    if (!several) return bodyparts;
    const isUnique = animal.name === UNIQUE;
    return bodyparts.filter((bodypart) => unique.includes(bodypart) === isUnique);
  }

  get hasPoints() {
    return this.animals.some((animal) => this.#isPlaced(animal));
  }

  get isChanged() {
    return this.past.length > 0;
  }

  // What is stored: whatever is said of an animal with a point.
  toKeypoints() {
    return this.animals
      .filter((animal) => this.#isPlaced(animal))
      .flatMap((animal) =>
        this.partsOf(animal)
          .filter((bodypart) => STORED.includes(animal.points[bodypart].state))
          .map((bodypart) => {
            const { x, y, state } = animal.points[bodypart];
            return [animal.name, bodypart, x, y, state];
          }),
      );
  }

  // Change something, so that it can be undone. Steps with the same tag, one after the other, are
  // undone together. `change` may return false: nothing was changed.
  edit(change, tag = null) {
    const before = this.#copy();
    if (change(this.animals) === false) return false;
    const last = this.past.at(-1);
    if (!(tag && last?.tag === tag && !this.future.length)) {
      this.past.push({ animals: before, tag });
      if (this.past.length > MOST_STEPS) this.past.shift();
    }
    this.future = [];
    this.isEmpty = false;
    return true;
  }

  // End a row of steps with one tag.
  settle() {
    const last = this.past.at(-1);
    if (last) last.tag = null;
  }

  undo() {
    return this.#move(this.past, this.future);
  }

  redo() {
    return this.#move(this.future, this.past);
  }

  setPoint(number, bodypart, [x, y], state = null, tag = null) {
    return this.edit((animals) => {
      const { points } = animals[number];
      const kept = points[bodypart].state === "hidden" ? "hidden" : "visible";
      points[bodypart] = { x, y, state: state ?? kept };
    }, tag);
  }

  toggleHidden(number, bodypart) {
    return this.edit((animals) => {
      const point = animals[number].points[bodypart];
      point.state = point.state === "hidden" ? "visible" : "hidden";
    });
  }

  // Label a bodypart as absent; called again, remove that label.
  removePoint(number, bodypart) {
    return this.edit((animals) => {
      const { points } = animals[number];
      points[bodypart] = nowhere(points[bodypart].state === "absent" ? "open" : "absent");
    });
  }

  // Accept all suggestions of an animal.
  acceptSuggestions(number) {
    return this.edit((animals) => {
      const open = Object.values(animals[number].points).filter((p) => p.state === "suggested");
      if (!open.length) return false;
      for (const point of open) point.state = "visible";
    });
  }

  // Return the number of the new animal; -1 if there are as many as the project has.
  addAnimal() {
    const used = new Set(this.animals.map((animal) => animal.name));
    const name = this.project.individuals.find((one) => !used.has(one));
    if (name === undefined) return -1;
    this.edit((animals) => {
      animals.push(this.#makeAnimal(name));
      this.#sort(animals);
    });
    return this.animals.findIndex((animal) => animal.name === name);
  }

  removeAnimal(number) {
    return this.edit((animals) => {
      animals.splice(number, 1);
      this.#complete();
    });
  }

  removeAll() {
    return this.edit((animals) => {
      animals.splice(0);
      this.#complete();
    });
  }

  // Exchange two animals: each takes the points of the other.
  swapAnimals(one, other) {
    return this.edit((animals) => {
      const [a, b] = [animals[one], animals[other]];
      if (!a || !b || one === other || [a, b].some((animal) => animal.name === UNIQUE)) return false;
      [a.points, b.points] = [b.points, a.points];
    });
  }

  // Exchange left and right of an animal.
  mirror(number) {
    return this.edit((animals) => {
      const { points } = animals[number];
      const pairs = this.project.symmetries.filter((pair) => pair.every((name) => name in points));
      if (!pairs.length) return false;
      for (const [left, right] of pairs) {
        [points[left], points[right]] = [points[right], points[left]];
      }
    });
  }

  // Take over the points of another frame or author.
  copyFrom(keypoints) {
    return this.edit((animals) => {
      const copied = this.#read(keypoints).filter((animal) => this.#isPlaced(animal));
      if (!copied.length) return false;
      animals.splice(0, animals.length, ...copied);
      this.#complete();
    });
  }

  #move(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push({ animals: this.#copy(), tag: null });
    this.animals = step.animals;
    this.isEmpty = false;
    return true;
  }

  #copy() {
    return JSON.parse(JSON.stringify(this.animals));
  }

  #isPlaced(animal) {
    return Object.values(animal.points).some((p) => p.state === "visible" || p.state === "hidden");
  }

  #makeAnimal(name) {
    const animal = { name, points: {} };
    for (const bodypart of this.partsOf(animal)) animal.points[bodypart] = nowhere("open");
    return animal;
  }

  #read(keypoints, toState = (visibility) => visibility) {
    const animals = new Map();
    for (const [name, bodypart, x, y, said] of keypoints) {
      if (!animals.has(name)) animals.set(name, this.#makeAnimal(name));
      const { points } = animals.get(name);
      if (!(bodypart in points)) continue; // of no bodypart of the project
      points[bodypart] = x === null ? nowhere("absent") : { x, y, state: toState(said) };
    }
    return [...animals.values()];
  }

  // Take predicted animals; those without a name of the project get one that is free, surest first.
  #adopt(keypoints) {
    const { pcutoff, individuals } = this.project;
    const rounded = keypoints.map(([name, part, x, y, said]) => [name, part, round(x), round(y), said]);
    const animals = this.#read(rounded, (confidence) => (confidence >= pcutoff ? "visible" : "suggested"));
    const sureness = (animal) =>
      keypoints.filter(([name]) => name === animal.name).reduce((sum, point) => sum + (point[4] || 0), 0);
    const isKnown = (animal) => animal.name === UNIQUE || individuals.includes(animal.name);
    const known = animals.filter(isKnown);
    const free = individuals.filter((name) => !known.some((animal) => animal.name === name));
    const others = animals.filter((animal) => !isKnown(animal)).sort((a, b) => sureness(b) - sureness(a));
    others.slice(0, free.length).forEach((animal, number) => {
      known.push({ ...animal, name: free[number] });
    });
    return known;
  }

  #complete() {
    const { unique, several, individuals } = this.project;
    const { animals } = this;
    if (!animals.some((animal) => animal.name !== UNIQUE)) animals.push(this.#makeAnimal(individuals[0]));
    if (several && unique.length && !animals.some((animal) => animal.name === UNIQUE)) {
      animals.push(this.#makeAnimal(UNIQUE));
    }
    this.#sort(animals);
  }

  #sort(animals) {
    const { individuals } = this.project;
    const rank = ({ name }) => (name === UNIQUE ? Infinity : (individuals.indexOf(name) + 1 || 1e6));
    animals.sort((a, b) => rank(a) - rank(b));
  }
}
