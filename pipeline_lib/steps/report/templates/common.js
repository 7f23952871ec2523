"use strict";
// What all pages share. User text reaches a page through textContent and setAttribute only.
const common = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const find = (id) => document.getElementById(id);

  function make(tag, className, ...content) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...content.filter((one) => one !== undefined && one !== null));
    return element;
  }

  function draw(name, attributes, ...content) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.append(...content);
    return element;
  }

  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

  function formatDuration(seconds) {
    if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
    const total = Math.round(seconds);
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(total / 3600);
    const minutes = Math.floor(total / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(total % 60)} h` : `${minutes}:${two(total % 60)} min`;
  }

  // ---- scheme
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("scheme"); } catch { return null; } };
  if (["light", "dark"].includes(stored())) root.dataset.scheme = stored();
  find("scheme").addEventListener("click", () => {
    const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.scheme = dark ? "light" : "dark";
    try { localStorage.setItem("scheme", root.dataset.scheme); } catch { /* a page opened from a file may have no storage */ }
  });

  // Paper is light.
  let chosen;
  addEventListener("beforeprint", () => { chosen = root.dataset.scheme; root.dataset.scheme = "light"; });
  addEventListener("afterprint", () => { if (chosen) root.dataset.scheme = chosen; else delete root.dataset.scheme; });

  // ---- tooltips
  const tip = find("tip");
  document.addEventListener("pointerover", (event) => {
    const owner = event.target.closest("[data-tip]");
    tip.hidden = !owner;
    if (owner) tip.textContent = owner.dataset.tip;
  });
  document.addEventListener("pointermove", (event) => {
    if (tip.hidden) return;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const y = event.clientY + 18 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18;
    tip.style.left = x + "px";
    tip.style.top = y + "px";
  });

  return { find, make, draw, grouped, formatDuration };
})();
