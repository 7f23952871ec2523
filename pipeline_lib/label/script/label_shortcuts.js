// The keys of the view of labels: what is listed here is what `?` shows and what keys do.

const STEP = { "": 1, shift: 10, alt: 0.1 };

const arrows = (dx, dy, arrow) => [
  {
    keys: [arrow, `shift+${arrow}`, `alt+${arrow}`],
    group: "Points",
    about: "",
    run(view, event) {
      const step = STEP[event.shiftKey ? "shift" : event.altKey ? "alt" : ""];
      view.nudge(dx * step, dy * step);
    },
  },
  {
    keys: [`ctrl+${arrow}`],
    group: "View",
    about: "",
    run: (view) => view.viewer.panBy(-60 * dx, -60 * dy),
  },
];

export const SHORTCUTS = [
  { group: "Frames", keys: ["n", "PageDown"], about: "Next frame", run: (view) => view.step(1) },
  { group: "Frames", keys: ["p", "PageUp"], about: "Previous frame", run: (view) => view.step(-1) },
  { group: "Frames", keys: ["Enter"], waits: true, about: "Fine as it is: save and go to the next", run: (view) => view.accept() },
  { group: "Frames", keys: ["u"], about: "Next frame without labels", run: (view) => view.stepToOpen() },
  { group: "Frames", keys: ["g"], about: "Add a frame by its number", run: (view) => view.openFrameDialog() },
  { group: "Frames", keys: ["/"], about: "Search the list", run: (view) => view.$refs.search.focus() },
  { group: "Frames", keys: [","], about: "Look at the frame before", run: (view) => view.lookBy(-1) },
  { group: "Frames", keys: ["."], about: "Look at the frame after", run: (view) => view.lookBy(1) },
  { group: "Frames", keys: ["<"], about: "Look 10 frames back", run: (view) => view.lookBy(-10) },
  { group: "Frames", keys: [">"], about: "Look 10 frames on", run: (view) => view.lookBy(10) },
  { group: "Frames", keys: ["m"], about: "Add the frame that you look at", run: (view) => view.addLooked() },
  { group: "Frames", keys: ["Escape"], about: "Return from looking", run: (view) => view.escape() },

  { group: "Points", keys: ["Tab"], about: "Next bodypart", run: (view) => view.choosePart(1) },
  { group: "Points", keys: ["shift+Tab"], about: "Previous bodypart", run: (view) => view.choosePart(-1) },
  ...arrows(-1, 0, "ArrowLeft"),
  ...arrows(1, 0, "ArrowRight"),
  ...arrows(0, -1, "ArrowUp"),
  ...arrows(0, 1, "ArrowDown"),
  { group: "Points", keys: [" "], about: "Place the bodypart, or accept a suggestion", run: (view) => view.place() },
  { group: "Points", keys: ["h"], about: "Hidden, or visible again; places a hidden one", run: (view) => view.toggleHidden() },
  { group: "Points", keys: ["x", "Delete", "Backspace"], about: "Remove the point: absent; again: not labelled", run: (view) => view.removePoint() },
  { group: "Points", keys: ["q"], about: "Accept all suggestions of the animal", run: (view) => view.acceptSuggestions() },

  { group: "Animals", keys: [..."123456789"], about: "Choose an animal", run: (view, event) => view.chooseAnimal(Number(event.key) - 1) },
  { group: "Animals", keys: ["a"], about: "Add an animal", run: (view) => view.addAnimal() },
  { group: "Animals", keys: ["shift+x", "shift+Delete"], about: "Remove the animal", run: (view) => view.removeAnimal() },
  { group: "Animals", keys: ["s"], about: "Swap two animals", run: (view) => view.swap() },
  { group: "Animals", keys: ["shift+s"], about: "Swap left and right of the animal", run: (view) => view.mirror() },
  { group: "Animals", keys: ["e"], about: "No animal is in this frame", run: (view) => view.setEmpty() },

  { group: "Changes", keys: ["ctrl+z"], about: "Undo", run: (view) => view.undo() },
  { group: "Changes", keys: ["ctrl+shift+z", "ctrl+y"], about: "Redo", run: (view) => view.redo() },
  { group: "Changes", keys: ["c"], about: "Copy from the previous frame", run: (view) => view.copyPrevious() },
  { group: "Changes", keys: ["shift+r"], about: "Withdraw your correction", run: (view) => view.withdraw() },
  { group: "Changes", keys: ["shift+b"], about: "Add or rename bodyparts", run: (view) => view.openBodyparts() },

  { group: "View", keys: ["+", "="], about: "Zoom in", run: (view) => view.viewer.zoomBy(1.25) },
  { group: "View", keys: ["-"], about: "Zoom out", run: (view) => view.viewer.zoomBy(0.8) },
  { group: "View", keys: ["0"], about: "Show the whole frame", run: (view) => view.viewer.fit() },
  { group: "View", keys: ["z"], about: "Zoom to the animal", run: (view) => view.zoomToAnimal() },
  { group: "View", keys: ["b"], about: "Brighter", run: (view) => view.setBrightness(view.brightness + 0.1) },
  { group: "View", keys: ["d"], about: "Darker", run: (view) => view.setBrightness(view.brightness - 0.1) },
  { group: "View", keys: ["v"], about: "More contrast", run: (view) => view.setContrast(view.contrast + 0.1) },
  { group: "View", keys: ["shift+v"], about: "Less contrast", run: (view) => view.setContrast(view.contrast - 0.1) },
  { group: "View", keys: ["\\"], about: "Brightness and contrast as recorded", run: (view) => view.resetLight() },
  { group: "View", keys: ["k"], about: "Skeleton", run: (view) => view.toggle("showSkeleton") },
  { group: "View", keys: ["t"], about: "Names", run: (view) => view.toggle("showNames") },
  { group: "View", keys: ["?"], about: "These shortcuts", run: (view) => (view.dialog = "help") },
];

// What is shown for keys that have one entry each.
export const SHOWN = [
  ...SHORTCUTS.filter(({ about }) => about),
  { group: "Points", keys: ["← → ↑ ↓"], about: "Move the point by 1 px (Shift 10, Alt 0.1); where there is none, the cross" },
  { group: "View", keys: ["Ctrl ← → ↑ ↓"], about: "Move the section that is shown" },
];
