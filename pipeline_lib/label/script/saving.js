// Save frames one after the other, whole; keep what could not be saved, and try again.

import { saveFrame, withdrawFrame } from "cohortpose-label/api.js";

const KEY = "cohortpose-unsaved";
const RETRY = 3000; // ms

export class Saver {
  // told: changed(), saved(id, answer), failed(message).
  constructor(told) {
    this.told = told;
    this.waiting = new Map(); // id -> {name, base, keypoints}; keypoints null: withdraw
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
  add(id, name, readBase, keypoints) {
    this.waiting.set(id, { name, readBase, keypoints });
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
            : await saveFrame(id, task.readBase(), task.keypoints);
        this.error = "";
        this.time = new Date();
        this.told.saved(id, answer, task);
      } catch (error) {
        this.error = error.message;
        this.told.changed();
        // A newer state of the frame may wait already.
        if (!this.waiting.has(id)) this.waiting.set(id, task);
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
      this.current = null;
      this.#remember();
    }
    this.isWorking = false;
    this.told.changed();
  }

  // Of this tab only, and gone with it: for a page that is loaded anew before all is saved.
  #remember() {
    const kept = [...this.waiting.values()].filter((task) => task.keypoints !== null);
    const shown = kept.map(({ name, keypoints }) => ({ name, keypoints }));
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
