// Save frames one after the other, whole; keep what could not be saved, and try again.

import { saveFrame, withdrawFrame } from "cohortpose-label/api.js";

const KEY = "cohortpose-unsaved";
const RETRY = 3000; // ms

export class Saver {
  // told: changed(), saved(id, answer, task), refused(id, message).
  constructor(told) {
    this.told = told;
    this.waiting = new Map(); // id -> {name, readBase, keypoints, names}; keypoints null: withdraw
    this.isWorking = false;
    this.error = "";
    this.time = null;
    addEventListener("beforeunload", (event) => {
      if (this.isPending) event.preventDefault();
    });
  }

  get isPending() {
    return this.waiting.size > 0 || this.isWorking;
  }

  isWaiting(id) {
    return this.waiting.has(id) || this.current === id;
  }

  // name: video, frame and image, by which a frame is found again after the page was loaded anew.
  // names: version of the bodyparts' names; the server translates those of an earlier one.
  add(id, name, readBase, keypoints, names = "") {
    this.waiting.set(id, { name, readBase, keypoints, names });
    this.#remember();
    this.told.changed();
    this.#work();
  }

  async #work() {
    if (this.isWorking) return;
    this.isWorking = true;
    while (this.waiting.size) {
      const [id, task] = this.waiting.entries().next().value;
      this.waiting.delete(id);
      this.current = id;
      this.told.changed();
      try {
        const answer =
          task.keypoints === null
            ? await withdrawFrame(id)
            : await saveFrame(id, task.readBase(), task.names, task.keypoints);
        this.error = "";
        this.time = new Date();
        this.told.saved(id, answer, task);
      } catch (error) {
        // Its names mean nothing any more: to try again would not help.
        if (error.status === 409) this.told.refused(id, error.message);
        else await this.#retryLater(id, task, error);
      }
      this.current = null;
      this.#remember();
    }
    this.isWorking = false;
    this.told.changed();
  }

  async #retryLater(id, task, error) {
    this.error = error.message;
    this.told.changed();
    // A newer state of the frame may wait already.
    if (!this.waiting.has(id)) this.waiting.set(id, task);
    await new Promise((resolve) => setTimeout(resolve, RETRY));
  }

  // Of this tab only, and gone with it: for a page that is loaded anew before all is saved.
  #remember() {
    const kept = [...this.waiting.values()].filter((task) => task.keypoints !== null);
    const shown = kept.map(({ name, keypoints, names }) => ({ name, keypoints, names }));
    if (shown.length) sessionStorage.setItem(KEY, JSON.stringify(shown));
    else sessionStorage.removeItem(KEY);
  }

  static recall() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
    } catch {
      return [];
    }
  }
}
