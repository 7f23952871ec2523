// The view of labels: a list of frames, the frame, and its animals and bodyparts.

import { markRaw } from "vue";
import {
  ImageLoader, addFrame, changeBodypart, imagePath, listFrames, measureVideo, readFrame, readOthers,
  readProject, videoFramePath,
} from "cohortpose-label/api.js"; // prettier-ignore
import { Annotation, UNIQUE, hasPlace } from "cohortpose-label/annotation.js";
import { colourOf, drawAnimals, drawCrosshair } from "cohortpose-label/drawing.js";
import { SHORTCUTS, SHOWN } from "cohortpose-label/label_shortcuts.js";
import { template } from "cohortpose-label/label_template.js";
import { Saver } from "cohortpose-label/saving.js";
import { findShortcut, groupShortcuts, isTyping, showKey } from "cohortpose-label/shortcuts.js";
import { FrameViewer } from "cohortpose-label/viewer.js";

const REACH = 12; // px of the screen within which a point is grabbed
const MOVED = "moved";
// States of bodyparts that nobody has spoken of.
const OPEN = ["open", "suggested"];
// Groups of shortcuts that concern the frame that is shown.
const WAITING = ["Points", "Animals", "Changes"];

export default {
  template,
  data: () => ({
    project: null,
    entries: [],
    current: null, // id of the frame shown
    tick: 0, // raised whenever the annotation changes, which Vue does not watch
    animal: 0,
    part: 0,
    search: "",
    filter: "all",
    look: 0, // frames from the current one to the one looked at
    dialog: "",
    dialogText: "",
    dialogFormer: "",
    dialogVideo: "",
    dialogError: "",
    notice: null, // {text, actions: [{text, run}]}
    message: "",
    trouble: "",
    isSwapping: false,
    isLoading: false,
    showSkeleton: true,
    showNames: false,
    brightness: 1,
    contrast: 1,
    zoom: 1,
    saving: "",
    isSaved: true,
  }),
  computed: {
    shown() {
      const wanted = this.search.trim().toLowerCase();
      return this.entries.filter((entry) => {
        if (this.filter === "open" && this.isDone(entry) && entry.id !== this.current) return false;
        return !wanted || this.describeEntry(entry).toLowerCase().includes(wanted);
      });
    },
    doneCount() {
      return this.entries.filter(this.isDone).length;
    },
    entry() {
      return this.entries[this.current] ?? null;
    },
    groups: () => groupShortcuts(SHOWN),
    animals() {
      void this.tick;
      return this.annotation ? this.annotation.animals.map(({ name }, number) => ({ name, number })) : [];
    },
    parts() {
      void this.tick;
      const animal = this.annotation?.animals[this.animal];
      if (!animal) return [];
      return this.annotation
        .partsOf(animal)
        .map((name) => ({ name, state: animal.points[name].state, colour: this.colour(name) }));
    },
    others() {
      void this.tick;
      return this.annotation?.others ?? [];
    },
    origin() {
      void this.tick;
      const { annotation } = this;
      if (!annotation) return "";
      const { author, time } = annotation.base;
      if (author) return `${annotation.isEmpty ? "no animal, " : ""}by ${author}, ${showTime(time)}`;
      return { label: "imported label", prediction: "prediction, not saved yet", none: "no labels yet" }[annotation.origin] ?? "";
    },
  },
  async mounted() {
    this.images = markRaw(new ImageLoader());
    this.kept = markRaw(new Map());
    this.annotation = null;
    this.cursor = null;
    this.waitingKeys = [];
    this.frameCounts = markRaw(new Map());
    this.saver = markRaw(new Saver({ changed: () => this.showSaving(), saved: this.onSaved, refused: this.onRefused }));
    this.viewer = markRaw(
      new FrameViewer(this.$refs.host, {
        draw: this.draw,
        changed: () => (this.zoom = this.viewer.zoom),
        grab: this.grab,
        drag: this.drag,
        drop: () => this.finish(),
        click: this.click,
      }),
    );
    this.onKey = (event) => this.pressKey(event);
    addEventListener("keydown", this.onKey);
    try {
      [this.project, this.entries] = await Promise.all([readProject(), listFrames()]);
    } catch (error) {
      this.trouble = error.message;
      return;
    }
    this.project = markRaw(this.project);
    this.trouble = this.project.problems.join("\n");
    this.restoreUnsaved();
    if (this.entries.length) await this.go(0);
    this.$refs.stage.focus({ preventScroll: true });
  },
  unmounted() {
    removeEventListener("keydown", this.onKey);
    this.viewer.close();
  },
  methods: {
    showKey,

    // --- Frames ---

    colourFor: colourOf,

    isDone: (entry) => Boolean(entry.author) || entry.reasons.some(([kind]) => kind === "label"),

    describeEntry(entry) {
      const reasons = entry.reasons.map((reason) => reason.join(" "));
      return [entry.video, entry.frame, entry.image, entry.author, ...reasons].join(" ");
    },

    describeReason(entry) {
      const [kind, text] = entry.reasons[0] ?? ["", ""];
      if (kind === "refine" || kind === "label error") return text || kind;
      return { selected: "selected", label: "label", corrected: "corrected" }[kind] ?? kind;
    },

    choose(id) {
      this.waitingKeys = [];
      return this.go(id);
    },

    async go(id) {
      const entry = this.entries[id];
      if (!entry) return;
      this.finish();
      this.current = id;
      this.setShown(null);
      this.look = 0;
      this.isSwapping = false;
      this.message = "";
      this.notice = null;
      this.showListed(id);
      await this.open(id);
      if (this.current === id) this.prefetch(id);
    },

    async open(id) {
      this.isLoading = true;
      try {
        const [found, url] = await Promise.all([
          this.kept.get(id) ?? this.readNamed(id),
          this.images.load(imagePath(id)),
        ]);
        if (this.current !== id) return;
        this.setAnnotation(id, found instanceof Annotation ? found : new Annotation(this.project, found));
        if (found.problem) this.message = found.problem;
        await this.viewer.show(url);
      } catch (error) {
        if (this.current !== id) return;
        this.waitingKeys = [];
        this.viewer.clear();
        this.setShown(null);
        this.notice = { text: error.message, actions: [{ text: "Try again", run: () => this.go(id) }] };
      } finally {
        if (this.current === id) this.endLoading();
      }
    },

    // Read a frame and the names that its points have, which somebody may be changing.
    async readNamed(id) {
      for (;;) {
        const found = await readFrame(id);
        if (found.names === this.project.names) return found;
        this.kept.clear();
        this.project = markRaw(await readProject());
      }
    },

    // What was pressed meanwhile is done now, until it is time to wait again.
    endLoading() {
      this.isLoading = false;
      while (this.waitingKeys.length && !this.isLoading) {
        const [shortcut, event] = this.waitingKeys.shift();
        shortcut.run(this, event);
      }
    },

    setShown(annotation) {
      this.annotation = annotation && markRaw(annotation);
      this.changed();
    },

    setAnnotation(id, annotation) {
      annotation.id = id;
      this.kept.set(id, annotation);
      this.setShown(annotation);
      this.animal = Math.min(this.animal, annotation.animals.length - 1);
      this.part = 0;
      this.cursor = null;
      this.chooseOpenPart();
      this.changed();
    },

    prefetch(id) {
      const place = this.shown.findIndex((entry) => entry.id === id);
      const near = [1, 2, -1].map((step) => this.shown[place + step]).filter(Boolean);
      this.images.prefetch(near.map((entry) => imagePath(entry.id)));
    },

    showListed(id) {
      const place = this.shown.findIndex((entry) => entry.id === id);
      if (place >= 0) this.$refs.list?.scrollTo(place, "center");
    },

    step(by) {
      const place = this.shown.findIndex((entry) => entry.id === this.current);
      const next = this.shown[place + by];
      if (next) return this.go(next.id);
      this.message = by > 0 ? "This is the last frame of the list." : "This is the first frame of the list.";
    },

    stepToOpen() {
      const place = this.shown.findIndex((entry) => entry.id === this.current);
      const ordered = [...this.shown.slice(place + 1), ...this.shown.slice(0, Math.max(place, 0))];
      const next = ordered.find((entry) => !this.isDone(entry));
      if (next) this.go(next.id);
      else this.message = "All frames of the list are labelled.";
    },

    accept() {
      if (!this.annotation || this.look) return;
      if (this.annotation.hasPoints) this.save();
      this.step(1);
    },

    // --- Neighbours ---

    async lookBy(by) {
      const { entry } = this;
      if (!entry || entry.frame < 0 || !this.project.videos.includes(entry.video)) {
        this.message = "The cohort does not have the video of this image, so it has no neighbours.";
        return;
      }
      // At once: keys that follow are meant for the neighbour, which cannot be changed.
      this.look = Math.max(-entry.frame, this.look + by);
      this.changed();
      const frames = await this.countFrames(entry.video);
      if (entry !== this.entry) return;
      this.look = Math.min(frames - 1 - entry.frame, this.look);
      const target = entry.frame + this.look;
      const path = this.look ? videoFramePath(entry.video, target) : imagePath(entry.id);
      try {
        const url = await this.images.load(path);
        if (entry === this.entry && target === entry.frame + this.look) await this.viewer.show(url);
        const ahead = [1, 2, 3].map((step) => target + step * Math.sign(by)).filter((f) => f >= 0 && f < frames);
        this.images.prefetch(ahead.map((frame) => videoFramePath(entry.video, frame)));
      } catch (error) {
        this.message = error.message;
      }
      this.changed();
    },

    async countFrames(video) {
      if (!this.frameCounts.has(video)) {
        const facts = await measureVideo(video).catch(() => ({ frames: Infinity }));
        this.frameCounts.set(video, facts.frames);
      }
      return this.frameCounts.get(video);
    },

    async escape() {
      this.isSwapping = false;
      this.message = "";
      if (!this.look) return;
      this.look = 0;
      await this.viewer.show(await this.images.load(imagePath(this.current)));
      this.changed();
    },

    addLooked() {
      if (this.look) this.addByNumber(this.entry.video, this.entry.frame + this.look);
    },

    async addByNumber(video, frame) {
      const entry = await addFrame(video, frame);
      this.entries[entry.id] = entry;
      // Before the frame is there: keys that follow are meant for it.
      if (this.dialog) this.closeDialog();
      await this.go(entry.id);
    },

    // --- Points ---

    get(part = this.part) {
      return this.annotation?.animals[this.animal]?.points[this.parts[part]?.name];
    },

    colour(bodypart) {
      const { several, bodyparts } = this.project;
      return colourOf(several ? this.animal : bodyparts.indexOf(bodypart));
    },

    isEditable() {
      if (this.look) this.message = "This is a neighbouring frame: Esc returns to the one that you label.";
      return Boolean(this.annotation && this.parts.length && !this.look);
    },

    changed() {
      this.tick++;
      this.viewer.redraw();
    },

    // Show a change and save it. Steps of one drag, or of arrows, are saved when they end.
    edited(isChanged, isLasting = true) {
      if (!isChanged) return;
      this.cursor = null;
      this.changed();
      clearTimeout(this.timer);
      if (isLasting) this.save();
      else this.timer = setTimeout(() => this.finish(), 400);
      this.isUnfinished = !isLasting;
    },

    finish() {
      clearTimeout(this.timer);
      if (!this.isUnfinished || !this.annotation) return;
      this.isUnfinished = false;
      this.annotation.settle();
      this.save();
    },

    choosePart(by) {
      const { length } = this.parts;
      if (length) this.selectPart((this.part + by + length) % length);
    },

    selectPart(part) {
      this.finish();
      this.part = part;
      this.cursor = null;
      const point = this.get();
      if (hasPlace(point)) this.viewer.reveal([point.x, point.y]);
      this.changed();
    },

    // Choose the first bodypart without a point, from the current one on.
    chooseOpenPart() {
      const { length } = this.parts;
      for (let step = 0; step < length; step++) {
        const part = (this.part + step) % length;
        if (OPEN.includes(this.get(part).state)) {
          this.part = part;
          return;
        }
      }
    },

    nudge(dx, dy) {
      if (!this.isEditable()) return;
      const point = this.get();
      if (hasPlace(point)) {
        const to = this.viewer.clamp([round(point.x + dx), round(point.y + dy)]);
        this.viewer.reveal(to);
        const state = point.state === "suggested" ? "visible" : null;
        this.edited(this.annotation.setPoint(this.animal, this.parts[this.part].name, to, state, MOVED), false);
        return;
      }
      // The cross moves so that it crosses the window in some steps, at any zoom.
      const stride = Math.max(1, 8 / this.viewer.zoom);
      const [x, y] = this.cursor ?? this.findStart();
      this.cursor = this.viewer.clamp([round(x + dx * stride), round(y + dy * stride)]);
      this.viewer.reveal(this.cursor);
      this.changed();
    },

    findStart() {
      const points = Object.values(this.annotation.animals[this.animal].points);
      const placed = points.filter(hasPlace);
      const last = this.parts.slice(0, this.part).reverse().map(({ name }) => name)
        .map((name) => this.annotation.animals[this.animal].points[name])
        .find(hasPlace) ?? placed[0]; // prettier-ignore
      return last ? [last.x, last.y] : this.viewer.centre.map(Math.round);
    },

    place() {
      if (!this.isEditable()) return;
      const point = this.get();
      const to = hasPlace(point) ? [point.x, point.y] : (this.cursor ?? this.findStart());
      this.placeAt(to);
    },

    placeAt(position, state = null) {
      const { name } = this.parts[this.part];
      const to = this.viewer.clamp(position).map(round);
      this.edited(this.annotation.setPoint(this.animal, name, to, state));
      this.chooseOpenPart();
      this.changed();
    },

    // Where there is no point, one is placed that is hidden.
    toggleHidden() {
      if (!this.isEditable()) return;
      if (!hasPlace(this.get())) this.placeAt(this.cursor ?? this.findStart(), "hidden");
      else this.edited(this.annotation.toggleHidden(this.animal, this.parts[this.part].name));
    },

    removePoint() {
      if (this.isEditable()) this.edited(this.annotation.removePoint(this.animal, this.parts[this.part].name));
    },

    acceptSuggestions() {
      if (this.isEditable()) this.edited(this.annotation.acceptSuggestions(this.animal));
    },

    // --- Animals ---

    chooseAnimal(number) {
      if (!this.annotation?.animals[number]) return;
      if (this.isSwapping) return this.swapWith(number);
      this.finish();
      this.animal = number;
      this.part = Math.min(this.part, this.parts.length - 1);
      this.cursor = null;
      this.changed();
    },

    addAnimal() {
      if (!this.isEditable()) return;
      const number = this.annotation.addAnimal();
      if (number < 0) {
        this.message = `This project has ${this.project.individuals.length} animals at most (individuals.max).`;
        return;
      }
      this.animal = number;
      this.part = 0;
      this.changed();
    },

    removeAnimal() {
      if (!this.isEditable()) return;
      this.edited(this.annotation.removeAnimal(this.animal));
      this.animal = Math.min(this.animal, this.annotation.animals.length - 1);
      this.changed();
    },

    swap() {
      if (!this.isEditable()) return;
      const others = this.animals.filter(({ name, number }) => number !== this.animal && name !== UNIQUE);
      if (!others.length) this.message = "There is no other animal to swap with.";
      else if (others.length === 1) this.swapWith(others[0].number);
      else {
        this.isSwapping = true;
        this.message = `Swap ${this.animals[this.animal].name} with: press the number of the other animal (Esc: not).`;
      }
    },

    swapWith(number) {
      this.isSwapping = false;
      this.message = "";
      this.edited(this.annotation.swapAnimals(this.animal, number));
    },

    mirror() {
      if (!this.isEditable()) return;
      if (!this.project.symmetries.length) this.message = "The skeleton names no left and right (skeleton.symmetries).";
      this.edited(this.annotation.mirror(this.animal));
    },

    setEmpty() {
      if (!this.isEditable()) return;
      this.annotation.removeAll();
      this.annotation.isEmpty = true;
      this.animal = this.part = 0;
      this.save();
      this.changed();
    },

    // --- Changes ---

    undo() {
      if (!this.annotation) return;
      this.finish();
      this.afterStep(this.annotation.undo());
    },

    redo() {
      if (!this.annotation) return;
      this.finish();
      this.afterStep(this.annotation.redo());
    },

    afterStep(isDone) {
      if (!isDone) return;
      this.animal = Math.min(this.animal, this.annotation.animals.length - 1);
      this.part = Math.min(this.part, this.parts.length - 1);
      this.changed();
      // Undone to what stood there before: the frame is as if it had not been touched.
      if (!this.annotation.isChanged && this.annotation.origin !== "correction") this.sendWithdrawal();
      else this.save();
    },

    async copyPrevious() {
      if (!this.isEditable()) return;
      const source = this.findPrevious();
      if (!source) {
        this.message = "There is no previous frame with labels.";
        return;
      }
      const { annotation } = this;
      const kept = this.kept.get(source.id);
      this.isLoading = true;
      try {
        const keypoints = kept?.hasPoints ? kept.toKeypoints() : (await this.readNamed(source.id)).keypoints;
        if (annotation !== this.annotation) return;
        if (annotation.project.names !== this.project.names) return await this.open(this.current);
        this.edited(annotation.copyFrom(keypoints));
        this.message = `Copied from ${source.video}, frame ${source.frame}.`;
      } catch (error) {
        this.message = error.message;
      } finally {
        if (annotation === this.annotation) this.endLoading();
      }
    },

    // Return the nearest earlier frame of the video with labels, else the one before in the list.
    findPrevious() {
      const { entry } = this;
      const hasLabels = (other) => this.isDone(other) && !other.empty;
      const earlier = this.entries.filter(
        (other) => other.video === entry.video && other.frame < entry.frame && hasLabels(other),
      );
      if (earlier.length) return earlier.reduce((a, b) => (b.frame > a.frame ? b : a));
      const place = this.shown.findIndex(({ id }) => id === this.current);
      return this.shown.slice(0, Math.max(place, 0)).reverse().find(hasLabels);
    },

    withdraw() {
      if (!this.annotation || this.look) return;
      this.finish();
      this.kept.delete(this.current);
      this.sendWithdrawal();
    },

    async useOther({ author, time }) {
      const { annotation, current } = this;
      const found = (await readOthers(current)).find((one) => one.author === author && one.time === time);
      if (!found || annotation !== this.annotation) return;
      this.edited(annotation.copyFrom(found.keypoints));
      this.notice = null;
    },

    // --- Saving ---

    nameFrame(id) {
      const { video, frame, image } = this.entries[id];
      return { video, frame, image };
    },

    save() {
      const { annotation } = this;
      const { id } = annotation;
      this.saver.add(id, this.nameFrame(id), () => annotation.base, annotation.toKeypoints(), annotation.project.names);
    },

    sendWithdrawal() {
      this.saver.add(this.current, this.nameFrame(this.current), () => null, null);
    },

    onSaved(id, answer, task) {
      const entry = this.entries[id];
      entry.author = answer.author;
      entry.time = answer.time;
      entry.empty = task.keypoints?.length === 0;
      const annotation = this.kept.get(id);
      if (task.keypoints === null) {
        this.showWithdrawn(id, answer);
        return;
      }
      if (annotation) annotation.base = { author: answer.author, time: answer.time };
      if (answer.replaced && id === this.current) {
        const { author, time } = answer.replaced;
        if (annotation) annotation.others.unshift(answer.replaced);
        this.notice = {
          text: `${author} corrected this frame at ${showTime(time)}, while you had it open. Yours is newer and counts; theirs is kept.`,
          actions: [{ text: `Use ${author}'s`, run: () => this.useOther(answer.replaced) }],
        };
      }
      this.tick++;
    },

    showWithdrawn(id, found) {
      const kept = this.kept.get(id);
      // After an undo the steps to redo stay.
      if (kept && !found.author) {
        kept.base = { author: "", time: "" };
        this.tick++;
      } else if (id === this.current) this.setAnnotation(id, new Annotation(this.project, found));
      else this.kept.delete(id);
    },

    showSaving() {
      const { saver } = this;
      this.isSaved = !saver.isPending;
      if (saver.error) this.saving = `Not saved: ${saver.error}. Trying again …`;
      else if (saver.isPending) this.saving = "Saving …";
      else this.saving = saver.time ? `Saved ${saver.time.toLocaleTimeString([], { hour12: false })}` : "";
    },

    restoreUnsaved() {
      for (const { name, keypoints, names } of Saver.recall()) {
        const entry = this.entries.find(
          ({ video, frame, image }) => video === name.video && frame === name.frame && image === name.image,
        );
        if (!entry) continue;
        const readBase = () => ({ author: entry.author, time: entry.time });
        this.saver.add(entry.id, name, readBase, keypoints, names);
      }
    },

    // The server calls this: somebody added or renamed a bodypart.
    async showProject(project) {
      if (project.names === this.project.names) return;
      this.finish();
      this.project = markRaw(project);
      this.kept.clear();
      if (this.entry) await this.open(this.current);
      this.notice = { text: "The bodyparts of the project have changed.", actions: [] };
    },

    // The server calls this: a table of corrections is damaged, or was repaired.
    showProblems(problems) {
      this.trouble = problems.join("\n");
    },

    // The names of a frame's points were exchanged in a way that nobody can follow.
    async onRefused(id, message) {
      this.kept.delete(id);
      try {
        this.project = markRaw(await readProject());
        if (id === this.current) await this.open(id);
      } catch (error) {
        this.trouble = error.message;
      }
      const { video, frame } = this.entries[id];
      this.notice = { text: `The last change of ${video}, frame ${frame}, was not saved: ${message}`, actions: [] };
    },

    // The server calls this: corrections have changed on the disk.
    showChanges(entries) {
      for (const entry of entries) {
        const kept = this.kept.get(entry.id);
        this.entries[entry.id] = entry;
        if (!kept || (kept.base.author === entry.author && kept.base.time === entry.time)) continue;
        if (this.saver.isWaiting(entry.id)) continue; // the answer tells
        if (entry.id === this.current && this.isUnfinished) continue;
        this.kept.delete(entry.id);
        if (entry.id === this.current) this.reload(entry);
      }
    },

    async reload(entry) {
      await this.open(entry.id);
      const who = entry.author ? `${entry.author} corrected this frame at ${showTime(entry.time)}` : "The correction of this frame was withdrawn";
      this.notice = { text: `${who}: that is what you see now.`, actions: [] };
    },

    // --- Bodyparts and dialogs ---

    openFrameDialog() {
      this.dialogVideo = this.entry && !this.entry.image ? this.entry.video : (this.project.videos[0] ?? "");
      this.dialogText = String(this.entry && !this.entry.image ? this.entry.frame : 0);
      this.dialogError = "";
      this.dialog = "frame";
    },

    async submitFrame() {
      const frame = Number(this.dialogText);
      if (!/^\d{1,12}$/.test(this.dialogText.trim())) {
        this.dialogError = "expected a frame, counted from 0";
        return;
      }
      try {
        await this.addByNumber(this.dialogVideo, frame);
      } catch (error) {
        this.dialogError = error.message;
      }
    },

    openBodyparts() {
      this.dialogFormer = "";
      this.dialogText = "";
      this.dialogError = "";
      this.dialog = "bodyparts";
    },

    async submitBodypart() {
      const name = this.dialogText.trim();
      if (!name) return;
      try {
        const what = this.dialogFormer ? "rename" : "add";
        this.finish();
        this.project = markRaw(await changeBodypart(what, name, this.dialogFormer));
        this.kept.clear();
        this.dialogText = this.dialogFormer = this.dialogError = "";
        if (this.entry) await this.open(this.current);
      } catch (error) {
        this.dialogError = error.message;
      }
    },

    closeDialog() {
      this.dialog = "";
      this.$refs.stage.focus({ preventScroll: true });
    },

    // --- Keys, mouse and drawing ---

    pressKey(event) {
      const { root } = this.$refs;
      if (!this.project || this.dialog || !root?.offsetParent || isTyping(event)) return;
      const shortcut = findShortcut(SHORTCUTS, event);
      // A button that has the focus takes its own keys.
      const isButton = event.target instanceof Element && event.target.closest("button, a, [role=tab]");
      if (!shortcut || (isButton && ["Enter", " ", "Tab"].includes(event.key))) return;
      event.preventDefault();
      if (!["m", "Escape"].includes(event.key)) this.message = "";
      // What is pressed while a frame is on its way is meant for that frame; keys keep their order.
      const isWaiting = this.waitingKeys.length > 0 || WAITING.includes(shortcut.group) || shortcut.waits;
      if (this.isLoading && isWaiting) this.waitingKeys.push([shortcut, event]);
      else shortcut.run(this, event);
    },

    find([x, y]) {
      const [sx, sy] = this.viewer.toScreen([x, y]);
      let best = null;
      this.annotation?.animals.forEach((animal, number) => {
        for (const [bodypart, point] of Object.entries(animal.points)) {
          if (!hasPlace(point)) continue;
          const [px, py] = this.viewer.toScreen([point.x, point.y]);
          const distance = Math.hypot(px - sx, py - sy);
          if (distance <= REACH && distance < (best?.distance ?? Infinity)) best = { number, bodypart, distance };
        }
      });
      return best;
    },

    grab(position) {
      this.$refs.stage.focus({ preventScroll: true });
      const found = this.look ? null : this.find(position);
      if (!found) return false;
      this.finish();
      this.animal = found.number;
      this.part = this.parts.findIndex(({ name }) => name === found.bodypart);
      this.changed();
      return true;
    },

    drag(position) {
      const to = this.viewer.clamp(position).map(round);
      const state = this.get().state === "suggested" ? "visible" : null;
      this.edited(this.annotation.setPoint(this.animal, this.parts[this.part].name, to, state, MOVED), false);
      clearTimeout(this.timer); // until it is dropped
    },

    click(position, event) {
      this.$refs.stage.focus({ preventScroll: true });
      if (!this.isEditable()) return;
      const found = this.find(position);
      if (event.button === 2 && found) {
        this.grab(position);
        this.toggleHidden();
      } else if (event.button === 0 && !found && !["visible", "hidden"].includes(this.get().state)) {
        const inside = this.viewer.clamp(position);
        if (inside[0] === position[0] && inside[1] === position[1]) this.placeAt(position, event.shiftKey ? "hidden" : null);
      }
    },

    draw(context, viewer) {
      const { annotation, project } = this;
      if (!annotation) return;
      drawAnimals(context, viewer, annotation.animals, {
        bodyparts: project.bodyparts,
        edges: project.edges,
        several: project.several,
        isFaint: this.look !== 0,
        showSkeleton: this.showSkeleton,
        showNames: this.showNames,
        selected: this.look ? null : [this.animal, this.parts[this.part]?.name],
      });
      const point = this.get();
      if (this.cursor && point && !hasPlace(point) && !this.look) drawCrosshair(context, viewer.toScreen(this.cursor));
    },

    zoomToAnimal() {
      const points = Object.values(this.annotation?.animals[this.animal]?.points ?? {});
      const placed = points.filter(hasPlace).map(({ x, y }) => [x, y]);
      if (placed.length) this.viewer.zoomTo(placed);
    },

    toggle(name) {
      this[name] = !this[name];
      this.viewer.redraw();
    },

    setBrightness(value) {
      this.brightness = Math.min(4, Math.max(0.2, round(value)));
      this.viewer.setLight(this.brightness, this.contrast);
    },

    setContrast(value) {
      this.contrast = Math.min(4, Math.max(0.2, round(value)));
      this.viewer.setLight(this.brightness, this.contrast);
    },

    resetLight() {
      this.brightness = this.contrast = 1;
      this.viewer.setLight(1, 1);
    },
  },
};

// A hundredth of a px is finer than anybody points.
const round = (value) => Math.round(value * 100) / 100;

const showTime = (time) => {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? date.toLocaleTimeString([], { hour12: false })
    : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short", hour12: false });
};
