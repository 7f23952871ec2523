// Ask the server. An error is an Error with a message for people.

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`/api${path}`, options);
  } catch {
    throw new Error("the server does not answer: is `cohortpose label` running, and the tunnel up?");
  }
  if (response.ok) return response;
  throw Object.assign(new Error(await explain(response)), { status: response.status });
}

async function explain(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return text.trim() || `status ${response.status}`;
  }
}

const askJson = async (...request) => (await ask(...request)).json();

export const readProject = () => askJson("GET", "/project");
export const listFrames = () => askJson("GET", "/frames");
export const addFrame = (video, frame) => askJson("POST", "/frames", { video, frame });
export const readFrame = (id) => askJson("GET", `/frames/${id}`);
export const readOthers = (id) => askJson("GET", `/frames/${id}/others`);
// names: version of the bodyparts' names that the keypoints have.
export const saveFrame = (id, base, names, keypoints) =>
  askJson("PUT", `/frames/${id}`, { base, names, keypoints });
export const withdrawFrame = (id) => askJson("DELETE", `/frames/${id}`);
export const measureVideo = (video) => askJson("GET", `/videos/${encodeURIComponent(video)}`);
export const changeBodypart = (what, bodypart, former = "") =>
  askJson("POST", "/bodyparts", { what, bodypart, former });

export const listTracks = () => askJson("GET", "/tracks");
// The doubts of all videos, worst first.
export const listDoubts = () => askJson("GET", "/doubts");
const tracksOf = (video) => `/tracks/${encodeURIComponent(video)}`;
export const readTracks = (video, known = "") =>
  askJson("GET", `${tracksOf(video)}?known=${encodeURIComponent(known)}`);
export const readPoses = (video, start, stop) =>
  askJson("GET", `${tracksOf(video)}/poses?start=${start}&stop=${stop}`);
export const decide = (video, decision) => askJson("POST", `${tracksOf(video)}/decisions`, decision);
export const withdrawDecision = (video, time) =>
  askJson("DELETE", `${tracksOf(video)}/decisions?time=${encodeURIComponent(time)}`);

export const imagePath = (id) => `/frames/${id}/image`;
export const videoFramePath = (video, frame, width) =>
  `/videos/${encodeURIComponent(video)}/${frame}${width ? `?width=${width}` : ""}`;

// Fetch images, and keep the last ones in memory, not on the disk of whoever looks at them.
export class ImageLoader {
  constructor(most = 48) {
    this.most = most;
    this.urls = new Map();
  }

  // Return the address of a frame's image in memory.
  load(path) {
    let promise = this.urls.get(path);
    if (promise) {
      this.urls.delete(path);
    } else {
      promise = ask("GET", path).then((response) => response.blob()).then(URL.createObjectURL);
      promise.catch(() => this.urls.delete(path));
    }
    this.urls.set(path, promise);
    this.#forget();
    return promise;
  }

  prefetch(paths) {
    for (const path of paths) this.load(path).catch(() => {});
  }

  #forget() {
    while (this.urls.size > this.most) {
      const [path, promise] = this.urls.entries().next().value;
      this.urls.delete(path);
      promise.then(URL.revokeObjectURL, () => {});
    }
  }
}
