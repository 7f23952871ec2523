// Draw the timeline of a video: a lane for each animal, what is in doubt, decisions, and here.

import { colourOf } from "cohortpose-label/drawing.js";

const LEFT = 96; // px for the names
const TOP = 20;
const LANE = 16;
const RIGHT = 12;

export const timelineHeight = (lanes) => TOP + LANE * lanes + 14;

const scaleOf = (width, frames) => (width - LEFT - RIGHT) / Math.max(1, frames);

export function frameAt(x, width, frames) {
  const frame = Math.round((x - LEFT) / scaleOf(width, frames));
  return Math.min(frames - 1, Math.max(0, frame));
}

// tracks: as the server describes them; state: here, shown, mark, clip [first, last], current.
export function drawTimeline(canvas, tracks, state) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = timelineHeight(tracks.lanes.length);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const scale = scaleOf(width, tracks.frames);
  const at = (frame) => LEFT + frame * scale;
  const bottom = TOP + LANE * tracks.lanes.length;

  if (state.clip) {
    context.fillStyle = "rgba(91, 157, 255, 0.16)";
    const [first, last] = state.clip;
    context.fillRect(at(first), TOP - 4, Math.max(2, (last - first + 1) * scale), bottom - TOP + 8);
  }
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  tracks.lanes.forEach((runs, slot) => {
    const middle = TOP + LANE * (slot + 0.5);
    context.fillStyle = colourOf(slot);
    context.fillText(tracks.individuals[slot], 10, middle, LEFT - 18);
    for (const [first, last, what] of runs) {
      context.globalAlpha = what === "gap" ? 0.25 : 0.8;
      const thick = what === "gap" ? 2 : 7;
      context.fillRect(at(first), middle - thick / 2, Math.max(1, (last - first + 1) * scale), thick);
    }
    context.globalAlpha = 1;
  });
  for (const one of tracks.decisions) {
    context.fillStyle = ["applied", "already right"].includes(one.outcome) ? "#6cc98b" : "#9a9da5";
    context.fillRect(at(one.first) - 1, bottom + 3, 2, 8);
  }
  tracks.doubts.forEach((doubt, number) => {
    context.fillStyle = number === state.current ? "#ffffff" : "#f2b34c";
    context.beginPath();
    context.moveTo(at(doubt.frame) - 5, 4);
    context.lineTo(at(doubt.frame) + 5, 4);
    context.lineTo(at(doubt.frame), 14);
    context.fill();
  });
  const line = (frame, colour, dash) => {
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(at(frame), 14);
    context.lineTo(at(frame), bottom + 12);
    context.stroke();
    context.setLineDash([]);
  };
  if (state.mark !== null) line(state.mark, "#c69cff", [3, 3]);
  line(state.here, "#ffffff", []);
  if (state.shown !== state.here) line(state.shown, "rgba(255, 255, 255, 0.45)", []);
}
