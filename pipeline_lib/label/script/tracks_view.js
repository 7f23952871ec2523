// The view of tracks: what is in doubt in each video, as a short clip, and one key for a decision.

import { markRaw } from "vue";
import {
  ImageLoader, decide, listDoubts, listTracks, readPoses, readProject, readTracks, videoFramePath, withdrawDecision,
} from "cohortpose-label/api.js"; // prettier-ignore
import { colourOf, drawAnimals } from "cohortpose-label/drawing.js";
import { findShortcut, groupShortcuts, isTyping, showKey } from "cohortpose-label/shortcuts.js";
import { drawTimeline, frameAt, timelineHeight } from "cohortpose-label/timeline.js";
import { TRACK_SHORTCUTS } from "cohortpose-label/tracks_shortcuts.js";
import { template } from "cohortpose-label/tracks_template.js";
import { FrameViewer } from "cohortpose-label/viewer.js";

const AROUND = 15; // frames of a clip before and after a doubt
const TRAIL = 12; // frames of the way that is drawn behind an animal
const SLOWER = 2; // clips are shown at half their speed
const BLOCK = 120; // frames of which poses are asked for at once
const WATCH = 4000; // ms

export default {
  template,
  data: () => ({
    project: null,
    videos: [],
    video: null,
    tracks: null, // as the server describes them
    current: -1, // of the doubts
    here: 0, // the frame that decisions are about
    shown: 0, // the frame that is shown, another one while the clip plays
    mark: null,
    pair: [],
    clip: null, // first and last frame
    isPlaying: false,
    search: "",
    message: "",
    trouble: "",
    saving: "",
    isSaving: false,
    isMoving: false, // to a doubt that is not shown yet: nobody decides what was not seen
    dialog: "",
    typed: "",
    showNames: true,
    everywhere: false, // doubts of all videos, worst first
    cohort: { doubts: [], tracked: 0, checked: 0, running: 0, total: 0 },
    undone: [], // own decisions about this video that were undone, newest last
  }),
  computed: {
    doubts() {
      return this.tracks?.doubts ?? [];
    },
    doubt() {
      return this.doubts[this.current] ?? null;
    },
    shownVideos() {
      const wanted = this.search.trim().toLowerCase();
      return this.videos.filter(({ video }) => !wanted || video.toLowerCase().includes(wanted));
    },
    shownCohort() {
      const wanted = this.search.trim().toLowerCase();
      return this.cohort.doubts.filter(({ video }) => !wanted || video.toLowerCase().includes(wanted));
    },
    cohortState() {
      const { checked, tracked, total } = this.cohort;
      const looked = checked < tracked ? `, ${checked} of ${tracked} videos looked at` : "";
      return `${total} in doubt in all videos${looked}`;
    },
    isEmpty() {
      return this.project !== null && !this.videos.some(({ tracked }) => tracked);
    },
    decisionsShown() {
      return [...this.tracks.decisions].sort((a, b) => (a.time < b.time ? 1 : -1)).slice(0, 100);
    },
    actions() {
      return [
        { what: "swap", key: "S", text: "Swap from here", run: () => this.decide("swap") },
        { what: "swap between", key: "B", text: "Swap mark to here", run: () => this.decide("swap", true) },
        { what: "new", key: "A", text: "First is a new animal", run: () => this.decide("new") },
        { what: "cut", key: "C", text: "Cut first's track here", run: () => this.decide("cut") },
        { what: "join", key: "J", text: "First goes on as second", run: () => this.decide("join") },
        { what: "confirm", key: "F", text: "Fine as it is", run: () => this.confirm() },
      ];
    },
    groups: () => groupShortcuts(TRACK_SHORTCUTS),
  },
  watch: {
    here: "redraw",
    shown: "redraw",
    mark: "redraw",
    current: "redraw",
    pair: "redraw",
    tracks: "redraw",
    showNames: "redraw",
  },
  async mounted() {
    this.images = markRaw(new ImageLoader(160));
    this.poses = markRaw(new Map()); // by block of frames
    this.viewer = markRaw(new FrameViewer(this.$refs.host, { draw: this.draw }));
    this.onKey = (event) => this.pressKey(event);
    addEventListener("keydown", this.onKey);
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.$refs.timeline);
    try {
      [this.project, this.videos] = await Promise.all([readProject(), listTracks()]);
    } catch (error) {
      this.trouble = error.message;
      return;
    }
    this.project = markRaw(this.project);
    const first = this.videos.find(({ tracked }) => tracked);
    if (first) await this.open(first.video);
    this.$refs.stage.focus({ preventScroll: true });
    this.watching = setInterval(() => this.watchOthers(), WATCH);
  },
  unmounted() {
    removeEventListener("keydown", this.onKey);
    clearInterval(this.watching);
    clearTimeout(this.playing);
    this.observer.disconnect();
    this.viewer.close();
  },
  methods: {
    showKey,
    colourOf,

    describeVideo(one) {
      if (!one.tracked) return "not tracked yet";
      if (one.open === undefined) return "";
      return one.open ? `${one.open} in doubt` : "nothing in doubt";
    },

    showProbability: ({ probability }) => `${Math.round(100 * probability)} %`,

    describeTimeline() {
      return this.tracks ? `${this.doubts.length} places in doubt in ${this.tracks.frames} frames` : "";
    },

    // --- Videos and doubts ---

    async open(video, frame = null) {
      this.stop();
      this.undone = [];
      this.message = "";
      this.video = video;
      this.tracks = null;
      this.current = -1;
      this.clip = this.mark = null;
      try {
        const tracks = await readTracks(video);
        if (this.video !== video) return;
        this.take(tracks);
      } catch (error) {
        if (this.video === video) this.trouble = error.message;
        return;
      }
      this.pair = this.tracks.individuals.length > 1 ? [0, 1] : [0];
      if (this.doubts.length) await this.goDoubt(this.findDoubt(frame));
      else {
        this.message = "Nothing is in doubt in this video.";
        await this.goFrame(0);
      }
    },

    // The number of the doubt at a frame; the worst one where there is none.
    findDoubt(frame) {
      return Math.max(0, this.doubts.findIndex((one) => one.frame === frame));
    },

    async toggleEverywhere() {
      this.everywhere = !this.everywhere;
      if (!this.everywhere) return;
      await this.loadCohort();
      await this.goWorst();
    },

    async loadCohort() {
      try {
        this.cohort = markRaw(await listDoubts());
      } catch (error) {
        this.message = error.message;
      }
    },

    // The worst doubt of all videos, unless its video is open and shows it.
    async goWorst() {
      const [worst] = this.shownCohort;
      if (worst) await this.goPlace(worst);
    },

    async goPlace({ video, frame }) {
      if (video === this.video && this.tracks) await this.goDoubt(this.findDoubt(frame));
      else await this.open(video, frame);
    },

    isShown(one) {
      return one.video === this.video && one.frame === this.doubt?.frame;
    },

    take(tracks) {
      if (tracks.version !== this.tracks?.version) this.poses.clear();
      this.tracks = markRaw(tracks);
      const entry = this.videos.find(({ video }) => video === tracks.video);
      if (entry) entry.open = tracks.doubts.length;
    },

    async watchOthers() {
      if (this.everywhere && this.$refs.root?.offsetParent) await this.loadCohort();
      const { video, tracks } = this;
      if (!tracks || this.isSaving || !this.$refs.root?.offsetParent) return;
      try {
        const found = await readTracks(video, tracks.version);
        if (this.tracks !== tracks || found.version === tracks.version) return;
        const { doubt } = this;
        this.take(found);
        this.current = this.doubts.findIndex((one) => one.frame === doubt?.frame);
        this.message = "Others have decided meanwhile: these are the tracks as they are now.";
        await this.show(this.shown);
      } catch {
        // The next decision tells.
      }
    },

    async stepVideo(by) {
      const tracked = this.shownVideos.filter((one) => one.tracked);
      const next = tracked[tracked.findIndex(({ video }) => video === this.video) + by];
      if (next) await this.open(next.video);
      else this.message = by > 0 ? "This is the last video." : "This is the first video.";
    },

    async stepDoubt(by) {
      const all = this.shownCohort;
      if (this.everywhere && all.length) {
        const here = all.findIndex((one) => this.isShown(one));
        const next = here < 0 ? 0 : (here + by + all.length) % all.length;
        return this.goPlace(all[next]);
      }
      if (!this.doubts.length) this.message = this.describeEnd();
      else await this.goDoubt((this.current + by + this.doubts.length) % this.doubts.length);
    },

    describeEnd() {
      const left = this.everywhere ? "in any video that was looked at" : "any more: V opens the next video";
      return `Nothing is in doubt ${left}.`;
    },

    async goDoubt(number) {
      const doubt = this.doubts[number];
      if (!doubt) return;
      this.stop();
      this.current = number;
      this.mark = null;
      const others = [...this.tracks.individuals.keys()].filter((slot) => !doubt.slots.includes(slot));
      this.pair = [...doubt.slots, ...others].slice(0, 2);
      this.clip = [
        Math.max(0, Math.min(doubt.first, doubt.frame) - AROUND),
        Math.min(this.tracks.frames - 1, Math.max(doubt.last, doubt.frame) + AROUND),
      ];
      this.here = doubt.frame;
      this.isMoving = true;
      await this.show(doubt.frame);
      if (this.doubt !== doubt) return;
      this.isMoving = false;
      this.play();
    },

    async goFrame(frame) {
      if (!this.tracks) return;
      this.stop();
      this.isMoving = false;
      this.here = Math.min(this.tracks.frames - 1, Math.max(0, frame));
      await this.show(this.here);
    },

    moveBy(by) {
      return this.goFrame(this.here + by);
    },

    setMark() {
      this.stop();
      this.mark = this.here;
      this.message = `Marked frame ${this.here}: go to the last frame that is wrong, then B swaps, Shift C cuts out.`;
    },

    seek(event) {
      if (!this.tracks) return;
      const box = this.$refs.timeline.getBoundingClientRect();
      this.goFrame(frameAt(event.clientX - box.left, box.width, this.tracks.frames));
      this.$refs.stage.focus({ preventScroll: true });
    },

    openFrameDialog() {
      this.typed = String(this.here);
      this.dialog = "frame";
    },

    goTyped() {
      this.dialog = "";
      if (/^\d{1,12}$/.test(this.typed.trim())) this.goFrame(Number(this.typed));
    },

    // --- Animals ---

    choose(slot) {
      if (!this.tracks || slot >= this.tracks.individuals.length || this.pair.at(-1) === slot) return;
      const [first, second] = this.pair;
      this.pair = slot === first ? [second ?? first, first] : [second ?? first, slot];
    },

    turnPair() {
      this.pair = [...this.pair].reverse();
    },

    // --- The clip ---

    play() {
      this.stop();
      if (!this.clip) return;
      this.isPlaying = true;
      const pause = (1000 / Math.max(1, this.tracks.fps || 25)) * SLOWER;
      const next = async () => {
        if (!this.isPlaying || !this.clip) return;
        const [first, last] = this.clip;
        const due = performance.now() + pause;
        await this.show(this.shown >= last || this.shown < first ? first : this.shown + 1);
        if (this.isPlaying) this.playing = setTimeout(next, Math.max(0, due - performance.now()));
      };
      this.playing = setTimeout(next, pause);
    },

    stop() {
      this.isPlaying = false;
      clearTimeout(this.playing);
    },

    togglePlay() {
      if (this.isPlaying) {
        this.stop();
        this.show(this.here);
        return;
      }
      const { frames } = this.tracks ?? { frames: 0 };
      this.clip ??= [Math.max(0, this.here - AROUND), Math.min(frames - 1, this.here + AROUND)];
      this.play();
    },

    async show(frame) {
      const { video, tracks } = this;
      if (!tracks) return;
      this.wanted = frame;
      const path = videoFramePath(video, frame);
      try {
        const [url] = await Promise.all([this.images.load(path), this.loadPoses(frame)]);
        if (this.video !== video || this.wanted !== frame) return;
        await this.viewer.show(url);
        if (this.video !== video || this.wanted !== frame) return;
        this.shown = frame;
      } catch (error) {
        if (this.video !== video || this.wanted !== frame) return;
        // A frame that cannot be decoded: the poses around it are shown all the same.
        this.shown = frame;
        this.message = error.message;
      }
      const ahead = [1, 2, 3, 4].map((step) => frame + step).filter((one) => one < tracks.frames);
      this.images.prefetch(ahead.map((one) => videoFramePath(video, one)));
      this.viewer.redraw();
    },

    async loadPoses(frame) {
      const blocks = [Math.floor(Math.max(0, frame - TRAIL) / BLOCK), Math.floor(frame / BLOCK)];
      await Promise.all([...new Set(blocks)].map((block) => this.loadBlock(block)));
    },

    async loadBlock(block) {
      if (this.poses.has(block)) return;
      const { video, tracks } = this;
      const found = await readPoses(video, block * BLOCK, (block + 1) * BLOCK);
      // Poses of other decisions than those that are shown come again with them.
      if (this.tracks === tracks && found.version === tracks.version) this.poses.set(block, found.frames);
    },

    poseOf(frame, slot) {
      return this.poses.get(Math.floor(frame / BLOCK))?.[frame % BLOCK]?.[slot] ?? null;
    },

    // --- Decisions ---

    async decide(what, isBetween = false) {
      if (!this.canDecide()) return;
      const isPaired = what === "swap" || what === "join";
      if (isBetween && this.mark === null) {
        this.message = "Mark the first wrong frame with M, go to the last one, then press this key again.";
        return;
      }
      const [frame, last] = isBetween
        ? [Math.min(this.mark, this.here), Math.max(this.mark, this.here)]
        : [this.here, null];
      await this.send({ what, frame, last, slots: isPaired ? this.pair : this.pair.slice(0, 1) });
    },

    canDecide() {
      return Boolean(this.tracks) && !this.isSaving && !this.isMoving;
    },

    async confirm() {
      if (!this.canDecide()) return;
      const { doubt } = this;
      if (!doubt) {
        this.message = "There is no doubt here: N goes to the next one.";
        return;
      }
      const last = doubt.last > doubt.first ? doubt.last : null;
      await this.send({ what: "confirm", frame: Math.max(1, doubt.first + 1), last, slots: doubt.slots });
    },

    async send(decision, isRedone = false) {
      const { video, tracks } = this;
      this.stop();
      this.message = "";
      this.isSaving = true;
      this.saving = "Saving …";
      if (!isRedone) this.undone = [];
      try {
        const found = await decide(video, { ...decision, seen: tracks.version });
        this.saving = `Saved ${new Date().toLocaleTimeString()}`;
        this.isSaving = false;
        if (this.video === video) await this.afterChange(found);
        return true;
      } catch (error) {
        this.saving = "Not saved";
        this.message = error.message;
        await this.reload();
        return false;
      } finally {
        this.isSaving = false;
      }
    },

    // Go on with the worst of what is left.
    async afterChange(tracks) {
      this.take(tracks);
      this.mark = null;
      this.current = -1;
      if (this.everywhere) {
        await this.loadCohort();
        if (this.shownCohort.length) return this.goWorst();
      }
      if (this.doubts.length) return this.goDoubt(0);
      this.clip = null;
      await this.goFrame(this.here);
      this.message = this.describeEnd();
    },

    async reload() {
      try {
        const { message } = this;
        this.take(await readTracks(this.video));
        await this.show(this.here);
        this.message = message;
      } catch (error) {
        this.trouble = error.message;
      }
    },

    async undo() {
      if (!this.tracks || this.isSaving) return;
      const own = this.tracks.decisions.filter((one) => one.own);
      if (!own.length) {
        this.message = "You have not decided anything in this video.";
        return;
      }
      const newest = own.reduce((a, b) => (b.time > a.time ? b : a));
      this.stop();
      this.isSaving = true;
      try {
        const found = await withdrawDecision(this.video, newest.time);
        this.take(found);
        this.undone = [...this.undone, newest];
        if (this.everywhere) await this.loadCohort();
        this.isSaving = false;
        this.saving = `Saved ${new Date().toLocaleTimeString()}`;
        const number = this.doubts.findIndex((one) => Math.abs(one.frame - found.withdrawn) <= AROUND);
        if (number >= 0) await this.goDoubt(number);
        else await this.goFrame(found.withdrawn);
        this.message = `Undone: ${newest.what} at frame ${newest.first}.`;
      } catch (error) {
        this.message = error.message;
      } finally {
        this.isSaving = false;
      }
    },

    async redo() {
      if (!this.tracks || this.isSaving) return;
      const last = this.undone.at(-1);
      if (!last) {
        this.message = "There is nothing to redo in this video.";
        return;
      }
      const names = [last.individual, last.other].filter(Boolean);
      const slots = names.map((name) => this.tracks.individuals.indexOf(name));
      if (slots.includes(-1)) {
        this.message = `Not redone: these tracks have no ${names[slots.indexOf(-1)]} any more.`;
        return;
      }
      const decision = { what: last.what, frame: last.first, last: last.last, slots };
      const left = this.undone.slice(0, -1);
      if (!(await this.send(decision, true))) return;
      this.undone = left;
      this.message = `Redone: ${last.what} at frame ${last.first}.`;
    },

    // --- Drawing ---

    toggle(name) {
      this[name] = !this[name];
    },

    redraw() {
      this.viewer?.redraw();
      const { timeline } = this.$refs;
      if (!timeline || !this.tracks) return;
      timeline.style.height = `${timelineHeight(this.tracks.lanes.length)}px`;
      drawTimeline(timeline, this.tracks, this);
    },

    draw(context, viewer) {
      if (!this.tracks) return;
      const { bodyparts, individuals } = this.tracks;
      for (const slot of individuals.keys()) this.drawTrail(context, viewer, slot);
      const animals = individuals.map((name, slot) => {
        const pose = this.poseOf(this.shown, slot);
        const points = Object.fromEntries(
          bodyparts.map((part, number) => {
            const point = pose?.[number];
            return [part, point ? { x: point[0], y: point[1], state: "visible" } : { state: "absent" }];
          }),
        );
        return { name, points };
      });
      const options = { bodyparts, edges: this.project.edges, several: true, showSkeleton: true };
      const faint = animals.map((one, slot) => (this.pair.includes(slot) ? { ...one, points: {} } : one));
      const bright = animals.map((one, slot) => (this.pair.includes(slot) ? one : { ...one, points: {} }));
      drawAnimals(context, viewer, faint, { ...options, isFaint: true, showSkeleton: false });
      drawAnimals(context, viewer, bright, options);
      if (this.showNames) for (const slot of this.pair) this.drawName(context, viewer, slot);
    },

    centreOf(frame, slot) {
      const points = (this.poseOf(frame, slot) ?? []).filter(Boolean);
      if (!points.length) return null;
      return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
    },

    drawTrail(context, viewer, slot) {
      context.strokeStyle = colourOf(slot);
      context.lineWidth = this.pair.includes(slot) ? 2 : 1;
      for (let age = TRAIL; age > 0; age--) {
        const [from, to] = [age, age - 1].map((back) => this.centreOf(this.shown - back, slot));
        if (!from || !to) continue;
        context.globalAlpha = 0.85 * (1 - age / (TRAIL + 1));
        context.beginPath();
        context.moveTo(...viewer.toScreen(from));
        context.lineTo(...viewer.toScreen(to));
        context.stroke();
      }
      context.globalAlpha = 1;
    },

    drawName(context, viewer, slot) {
      const centre = this.centreOf(this.shown, slot);
      if (!centre) return;
      const [x, y] = viewer.toScreen(centre);
      const text = this.tracks.individuals[slot];
      context.font = "13px system-ui, sans-serif";
      context.textBaseline = "middle";
      const width = context.measureText(text).width;
      context.fillStyle = "rgba(10, 11, 13, 0.8)";
      context.fillRect(x + 14, y - 26, width + 10, 18);
      context.fillStyle = colourOf(slot);
      context.fillText(text, x + 19, y - 16.5);
    },

    zoomToPair() {
      const around = this.clip ?? [this.here, this.here];
      const points = this.pair.flatMap((slot) =>
        [around[0], this.here, around[1]].flatMap((frame) => (this.poseOf(frame, slot) ?? []).filter(Boolean)),
      );
      this.viewer.zoomTo(points);
    },

    pressKey(event) {
      const { root } = this.$refs;
      if (!this.project || this.dialog || !root?.offsetParent || isTyping(event)) return;
      const shortcut = findShortcut(TRACK_SHORTCUTS, event);
      // A button that has the focus takes its own keys.
      const isButton = event.target instanceof Element && event.target.closest("button, a, [role=tab]");
      if (!shortcut || (isButton && ["Enter", " ", "Tab"].includes(event.key))) return;
      event.preventDefault();
      shortcut.run(this, event);
    },
  },
};
