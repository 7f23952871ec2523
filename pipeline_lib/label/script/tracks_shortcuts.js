// The keys of the view of tracks: what is listed here is what `?` shows and what keys do.

export const TRACK_SHORTCUTS = [
  { group: "Decide", keys: ["s"], about: "Swap the two animals from here to the end", run: (view) => view.decide("swap") },
  { group: "Decide", keys: ["b"], about: "Swap them between the mark and here", run: (view) => view.decide("swap", true) },
  { group: "Decide", keys: ["a"], about: "The first animal is a new one from here on", run: (view) => view.decide("new") },
  { group: "Decide", keys: ["c"], about: "Cut: from here on, the first animal's track belongs to an unknown animal", run: (view) => view.decide("cut") },
  { group: "Decide", keys: ["shift+c"], about: "Cut out what is between the mark and here", run: (view) => view.decide("cut", true) },
  { group: "Decide", keys: ["j"], about: "Join: the first animal continues in the track of the second", run: (view) => view.decide("join") },
  { group: "Decide", keys: ["f", "Enter"], about: "Fine as it is", run: (view) => view.confirm() },
  { group: "Decide", keys: ["u", "ctrl+z"], about: "Undo your last decision about this video", run: (view) => view.undo() },
  { group: "Decide", keys: ["shift+u", "ctrl+shift+z", "ctrl+y"], about: "Redo what you have undone", run: (view) => view.redo() },

  { group: "Doubts", keys: ["n", "PageDown"], about: "Next doubt", run: (view) => view.stepDoubt(1) },
  { group: "Doubts", keys: ["p", "PageUp"], about: "Previous doubt", run: (view) => view.stepDoubt(-1) },
  { group: "Doubts", keys: ["w"], about: "Worst first over all videos, or video by video", run: (view) => view.toggleEverywhere() },
  { group: "Doubts", keys: ["v"], about: "Next video", run: (view) => view.stepVideo(1) },
  { group: "Doubts", keys: ["shift+v"], about: "Previous video", run: (view) => view.stepVideo(-1) },

  { group: "Frames", keys: [" "], about: "Play or stop the clip", run: (view) => view.togglePlay() },
  { group: "Frames", keys: ["ArrowLeft"], about: "Here: one frame back", run: (view) => view.moveBy(-1) },
  { group: "Frames", keys: ["ArrowRight"], about: "Here: one frame on", run: (view) => view.moveBy(1) },
  { group: "Frames", keys: ["shift+ArrowLeft"], about: "Here: 10 frames back", run: (view) => view.moveBy(-10) },
  { group: "Frames", keys: ["shift+ArrowRight"], about: "Here: 10 frames on", run: (view) => view.moveBy(10) },
  { group: "Frames", keys: ["m"], about: "Mark this frame", run: (view) => view.setMark() },
  { group: "Frames", keys: ["g"], about: "Go to a frame by its number", run: (view) => view.openFrameDialog() },

  { group: "Animals", keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], about: "Choose an animal: it becomes the second one", run: (view, event) => view.choose(Number(event.key) - 1) },
  { group: "Animals", keys: ["x"], about: "Exchange first and second", run: (view) => view.turnPair() },

  { group: "View", keys: ["z"], about: "Zoom to the two animals", run: (view) => view.zoomToPair() },
  { group: "View", keys: ["0"], about: "Show the whole frame", run: (view) => view.viewer.fit() },
  { group: "View", keys: ["+", "="], about: "Zoom in", run: (view) => view.viewer.zoomBy(1.25) },
  { group: "View", keys: ["-"], about: "Zoom out", run: (view) => view.viewer.zoomBy(0.8) },
  { group: "View", keys: ["t"], about: "Names", run: (view) => view.toggle("showNames") },
  { group: "View", keys: ["?"], about: "These shortcuts", run: (view) => (view.dialog = "help") },
];
