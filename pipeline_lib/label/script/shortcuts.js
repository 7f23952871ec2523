// Spell keys, and find what a key does in a table of shortcuts.
//
// A shortcut: {keys: ["n", "PageDown"], about: "Next frame", group: "Frames", run(view, event)}.

const SHOWN = {
  arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", " ": "Space", pagedown: "Page down",
  pageup: "Page up", delete: "Del", escape: "Esc",
}; // prettier-ignore

// Return the name of a pressed key, such as `shift+tab`, `ctrl+z`, `?` or `n`.
export function spellKey(event) {
  const key = event.key.toLowerCase();
  // The shift of `?` is part of the key, and differs between keyboards.
  const isLetter = key.length === 1 && key !== event.key.toUpperCase();
  const hasShift = event.shiftKey && (key.length > 1 || isLetter || key === " ");
  return [
    event.ctrlKey || event.metaKey ? "ctrl+" : "",
    event.altKey ? "alt+" : "",
    hasShift ? "shift+" : "",
    key,
  ].join("");
}

export function showKey(name) {
  const parts = name === "+" ? ["+"] : name.toLowerCase().split("+");
  return parts
    .map((part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part[0].toUpperCase() + part.slice(1)))
    .join(" ");
}

export function findShortcut(shortcuts, event) {
  const name = spellKey(event);
  return shortcuts.find(({ keys }) => keys.some((key) => key.toLowerCase() === name));
}

// Tell whether somebody is typing.
export function isTyping({ target }) {
  return target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

export function groupShortcuts(shortcuts) {
  const groups = new Map();
  for (const shortcut of shortcuts) {
    if (!groups.has(shortcut.group)) groups.set(shortcut.group, []);
    groups.get(shortcut.group).push(shortcut);
  }
  return [...groups].map(([name, items]) => ({ name, items }));
}
