"use strict";
// User text reaches the page through textContent and setAttribute only.
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const { columns, rows, bodyparts } = data;
  const WEAK = 0.5;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // ---- cells
  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

  function formatDuration(seconds) {
    if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
    const total = Math.round(seconds);
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(total / 3600);
    const minutes = Math.floor(total / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(total % 60)} h` : `${minutes}:${two(total % 60)} min`;
  }

  function drawShare(value) {
    const meter = make("span", "meter" + (value < WEAK ? " weak" : ""));
    const bar = make("i");
    bar.style.setProperty("--v", 100 * value + "%");
    meter.append(bar, make("b", "", (100 * value).toFixed(value === 1 ? 0 : 1) + "\u202f%"));
    return meter;
  }

  function drawParts(values) {
    const strip = make("span", "strip" + (values.length > 12 ? " dense" : ""));
    strip.setAttribute("role", "img");
    const said = values.map((value, index) => `${bodyparts[index]} ${value === null ? "–" : value + " %"}`);
    strip.setAttribute("aria-label", "Mean confidence: " + said.join(", "));
    values.forEach((value, index) => {
      const bar = make("i", value !== null && value < 100 * WEAK ? "weak" : "");
      bar.style.setProperty("--v", (value === null ? 0 : value) + "%");
      bar.dataset.tip = said[index];
      strip.append(bar);
    });
    return strip;
  }

  // Frames per second and shares of decoding, network, waiting; or the video this is a copy of.
  function drawTimings(value) {
    if (typeof value === "string") {
      const copy = make("span", "copy", "= " + value);
      copy.dataset.tip = `The same file as ${value}: analysed once`;
      return copy;
    }
    const [rate, decode, network, wait] = value;
    const cell = make("span", "pace");
    const lanes = make("span", "lanes");
    for (const [name, share] of [["--n", network], ["--w", wait], ["--d", decode]]) lanes.style.setProperty(name, share + "%");
    lanes.append(make("i"), make("i"));
    const number = rate < 100 ? rate.toPrecision(3) : grouped(Math.round(rate));
    cell.dataset.tip = `${number} frames/s of a worker: network ${network} %, waiting for frames ${wait} %; decoding in parallel ${decode} %`;
    cell.append(make("b", "", number), make("small", "", "/s"), lanes, make("span", "hidden", cell.dataset.tip));
    return cell;
  }

  const NUMERIC = new Set(["count", "duration", "number", "share", "problems", "flags"]);
  const draw = {
    name: (value) => value,
    status: (value) => make("span", "badge status-" + value, value),
    metadata: (value) => value,
    count: grouped,
    duration: formatDuration,
    number: (value) => String(value),
    size: (value) => value,
    share: (value) => (typeof value === "string" ? make("span", "muted", value) : drawShare(value)),
    parts: drawParts,
    problems: (value) => (value ? make("span", "problem", grouped(value)) : "0"),
    flags: (value) => (value ? make("span", "flagged", grouped(value)) : "0"),
    timings: drawTimings,
    stage: (value) => value,
    reason: (value) => value,
  };

  // ---- state
  const statusColumn = columns.findIndex((column) => column.kind === "status");
  const texts = columns.flatMap((column, index) => (["name", "metadata", "reason", "stage"].includes(column.kind) ? [index] : []));
  const haystack = rows.map((row) => texts.map((index) => row[index]).join("\n").toLowerCase());
  const state = { sort: -1, down: false, page: 0, size: 50, query: "", chosen: new Map() };
  let view = [];

  function sortValue(value, kind) {
    // A reason why there is no share is no share.
    if (kind === "share") return typeof value === "string" ? null : value;
    if (kind === "parts") return value ? Math.min(...value.map((v) => v ?? -1)) : null;
    if (kind === "timings") return Array.isArray(value) ? value[0] : null;
    return value;
  }
  const collator = new Intl.Collator(undefined, { numeric: true });

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return collator.compare(a, b);
  }

  function update() {
    view = rows.map((_, index) => index).filter((index) => {
      if (state.query && !haystack[index].includes(state.query)) return false;
      for (const [column, value] of state.chosen) if (rows[index][column] !== value) return false;
      return true;
    });
    if (state.sort >= 0) {
      const { kind } = columns[state.sort];
      const value = (index) => sortValue(rows[index][state.sort], kind);
      view.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        // The unknown stays at the end, whichever way the table is sorted.
        const [noX, noY] = [x === null || x === "", y === null || y === ""];
        if (noX || noY) return noX - noY || a - b;
        return (state.down ? -compare(x, y) : compare(x, y)) || a - b;
      });
    }
    render();
  }

  const kinds = columns.map((column) => column.kind);
  const [firstFigure, lastFigure] = [kinds.indexOf("share"), kinds.indexOf("problems")];
  const [stageColumn, reasonColumn] = [kinds.indexOf("stage"), kinds.indexOf("reason")];

  // A video without figures says why in their place.
  function renderReason(row) {
    const cell = make("td", "why");
    cell.colSpan = lastFigure - firstFigure + 1;
    if (row[stageColumn] && row[statusColumn] !== "pending") cell.append(make("b", "", row[stageColumn] + ": "));
    cell.append(row[reasonColumn]);
    return cell;
  }

  function renderRow(row) {
    const line = make("tr");
    const bad = ["failed", "quarantined"].includes(row[statusColumn]);
    const speaks = bad || (row[statusColumn] === "pending" && row[firstFigure] === null);
    columns.forEach(({ kind }, index) => {
      if (speaks && index === firstFigure) line.append(renderReason(row));
      if (speaks && index >= firstFigure && index <= lastFigure) return;
      const cell = make(kind === "name" ? "th" : "td", NUMERIC.has(kind) ? "number" : kind);
      const value = row[index];
      if (kind === "name") cell.scope = "row";
      if (["name", "metadata", "reason"].includes(kind) && value) cell.title = value;
      cell.append(value === null ? "–" : draw[kind](value));
      line.append(cell);
    });
    return line;
  }

  function render() {
    const pages = Math.max(1, Math.ceil(view.length / state.size));
    state.page = Math.min(state.page, pages - 1);
    const start = state.page * state.size;
    const body = find("videos").tBodies[0];
    body.replaceChildren(...view.slice(start, start + state.size).map((index) => renderRow(rows[index])));
    if (!view.length) {
      const cell = make("td", "empty-table", "No video matches.");
      cell.colSpan = columns.length;
      const line = make("tr");
      line.append(cell);
      body.append(line);
    }
    const all = rows.length === view.length ? "" : ` of ${grouped(rows.length)}`;
    find("shown").textContent = `${grouped(view.length)}${all} videos`;
    find("page").textContent = `${state.page + 1} / ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
    for (const [index, head] of [...find("videos").tHead.rows[0].cells].entries()) {
      head.setAttribute("aria-sort", index !== state.sort ? "none" : state.down ? "descending" : "ascending");
    }
    for (const tile of document.querySelectorAll("[data-status]")) {
      tile.setAttribute("aria-pressed", String((state.chosen.get(statusColumn) ?? "") === tile.dataset.status));
    }
  }

  // ---- controls
  const selects = new Map();

  function choose(column, value) {
    if (value === null) state.chosen.delete(column);
    else state.chosen.set(column, value);
    state.page = 0;
    update();
  }

  function addFilter(column, values) {
    const select = make("select");
    select.setAttribute("aria-label", "Filter by " + columns[column].label);
    select.append(new Option(columns[column].label + ": all", "all"));
    values.forEach((value, index) => select.append(new Option(value || "(empty)", String(index))));
    select.addEventListener("change", () => choose(column, select.value === "all" ? null : values[Number(select.value)]));
    selects.set(column, { select, values });
    find("controls").insertBefore(select, find("controls").querySelector(".spacer"));
  }

  function setUp() {
    const head = make("tr");
    columns.forEach((column, index) => {
      const cell = make("th", NUMERIC.has(column.kind) ? "number" : "");
      cell.scope = "col";
      const button = make("button", "", column.label);
      button.type = "button";
      button.addEventListener("click", () => {
        state.down = state.sort === index ? !state.down : false;
        state.sort = index;
        state.page = 0;
        update();
      });
      cell.append(button);
      head.append(cell);
      if (!["status", "metadata"].includes(column.kind)) return;
      const values = [...new Set(rows.map((row) => row[index]))].sort(collator.compare);
      if (values.length > 1 && values.length <= 24) addFilter(index, values);
    });
    find("videos").tHead.append(head);
  }

  function saveTable() {
    const clean = (value) => (value === null ? "" : Array.isArray(value) ? value.join(",") : String(value).replace(/\s+/g, " "));
    const unknown = ["", "", "", ""];
    const spread = (line, timings) => line.flatMap((value, index) => (columns[index].kind === "timings" ? timings(value) : [value]));
    const labels = spread(columns.map((column) => column.label), () => ["Frames/s of a worker", "Decoding %", "Network %", "Waiting %"]);
    const lines = [labels, ...view.map((index) => spread(rows[index], (value) => (Array.isArray(value) ? value : unknown)))];
    const text = lines.map((line) => line.map(clean).join("\t")).join("\n") + "\n";
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    link.download = "cohort.tsv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  setUp();
  find("search").addEventListener("input", (event) => {
    state.query = event.target.value.trim().toLowerCase();
    state.page = 0;
    update();
  });
  find("size").addEventListener("change", (event) => { state.size = Number(event.target.value); state.page = 0; update(); });
  find("previous").addEventListener("click", () => { state.page -= 1; render(); });
  find("next").addEventListener("click", () => { state.page += 1; render(); });
  find("save").addEventListener("click", saveTable);
  for (const tile of document.querySelectorAll("[data-status]")) {
    tile.addEventListener("click", () => {
      const status = tile.dataset.status || null;
      const filter = selects.get(statusColumn);
      if (filter) filter.select.value = status === null ? "all" : String(filter.values.indexOf(status));
      if (filter && filter.select.selectedIndex < 0) filter.select.value = "all";
      choose(statusColumn, status);
      find("cohort").scrollIntoView();
    });
  }
  update();

  // ---- scheme
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("scheme"); } catch { return null; } };
  if (stored()) root.dataset.scheme = stored();
  find("scheme").addEventListener("click", () => {
    const dark = root.dataset.scheme ? root.dataset.scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.scheme = dark ? "light" : "dark";
    try { localStorage.setItem("scheme", root.dataset.scheme); } catch { /* a page opened from a file may have no storage */ }
  });

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

  find("copy").addEventListener("click", async (event) => {
    const range = document.createRange();
    range.selectNodeContents(find("methods"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    try { await navigator.clipboard.writeText(find("methods").textContent); event.target.textContent = "Copied"; }
    catch { event.target.textContent = "Selected"; }
  });
})();
