// Draw animals upon a frame.

import { hasPlace } from "cohortpose-label/annotation.js";

const COLOURS = [
  "#4cc9f0", "#f9a03f", "#7ee081", "#f25f8b", "#c69cff",
  "#ffe14d", "#5b9dff", "#ff7f6b", "#4fe0c5", "#d3e36b",
]; // prettier-ignore
const DARK = "rgba(10, 11, 13, 0.85)";

export const colourOf = (number) => COLOURS[number % COLOURS.length];

// animals: [{name, points: {bodypart: {x, y, state}}}], states `visible`, `hidden`, `suggested` and
// `absent`. options: bodyparts, edges, several, isFaint, showSkeleton, showNames, selected [animal,
// bodypart].
export function drawAnimals(context, viewer, animals, options) {
  context.save();
  context.globalAlpha = options.isFaint ? 0.4 : 1;
  if (options.showSkeleton) {
    animals.forEach((animal, number) => drawEdges(context, viewer, animal, number, options));
  }
  animals.forEach((animal, number) => {
    options.bodyparts.forEach((bodypart, part) => {
      const point = animal.points[bodypart];
      if (!hasPlace(point)) return;
      const isSelected = options.selected?.[0] === number && options.selected[1] === bodypart;
      const colour = colourOf(options.several ? number : part);
      drawPoint(context, viewer.toScreen([point.x, point.y]), point.state, colour, isSelected);
      if (options.showNames || isSelected) {
        const text = options.several ? `${animal.name} · ${bodypart}` : bodypart;
        drawName(context, viewer.toScreen([point.x, point.y]), text, colour);
      }
    });
  });
  context.restore();
}

function drawEdges(context, viewer, animal, number, { edges, several }) {
  context.lineWidth = 2;
  context.strokeStyle = several ? colourOf(number) : "rgba(225, 228, 235, 0.75)";
  for (const [from, to] of edges) {
    const ends = [animal.points[from], animal.points[to]];
    if (!ends.every(hasPlace)) continue;
    context.globalAlpha = ends.some((point) => point.state === "suggested") ? 0.3 : 0.75;
    context.beginPath();
    context.moveTo(...viewer.toScreen([ends[0].x, ends[0].y]));
    context.lineTo(...viewer.toScreen([ends[1].x, ends[1].y]));
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawPoint(context, [x, y], state, colour, isSelected) {
  const circle = (radius) => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
  };
  if (isSelected) {
    context.lineWidth = 3.5;
    context.strokeStyle = DARK;
    circle(11);
    context.stroke();
    context.lineWidth = 1.5;
    context.strokeStyle = "#ffffff";
    context.stroke();
  }
  context.lineWidth = 1.5;
  if (state === "visible") {
    context.fillStyle = colour;
    context.strokeStyle = DARK;
    circle(5);
    context.fill();
    context.stroke();
    return;
  }
  // Hidden ones are rings, suggested ones thin rings of dashes.
  context.lineWidth = state === "hidden" ? 5 : 3;
  context.strokeStyle = DARK;
  circle(5);
  context.stroke();
  context.lineWidth = state === "hidden" ? 2.5 : 1.2;
  context.strokeStyle = colour;
  context.setLineDash(state === "hidden" ? [] : [2.5, 2.5]);
  context.stroke();
  context.setLineDash([]);
}

function drawName(context, [x, y], text, colour) {
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  const width = context.measureText(text).width;
  context.fillStyle = DARK;
  context.beginPath();
  context.roundRect(x + 13, y - 9, width + 10, 18, 4);
  context.fill();
  context.fillStyle = colour;
  context.fillText(text, x + 18, y + 0.5);
}

export function drawCrosshair(context, [x, y]) {
  for (const [width, colour] of [[3.5, DARK], [1.5, "#ffffff"]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.stroke();
  }
}
