// The table of videos: only the rows in sight are in the document.
(() => {
  const { find, make, grouped, formatDuration } = common;
  const data = JSON.parse(find("data").textContent);
  const { columns, rows, bodyparts, findings } = data;
  const WEAK = 0.5;

  // ---- cells
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

  const address = (name) => "#video=" + encodeURIComponent(name);

  function drawName(value) {
    const link = make("a", "", value);
    link.href = address(value);
    return link;
  }

  const NUMERIC = new Set(["count", "duration", "number", "share", "problems", "flags"]);
  const draw = {
    name: drawName,
    decision: (value) => make("span", "badge decision-" + value, value),
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
  const haystack = rows.map((row) => [...texts.map((index) => row[index]), ...(Object.hasOwn(findings, row[0]) ? findings[row[0]].flat() : [])].join("\n").toLowerCase());
  const state = { sort: -1, down: false, query: "", chosen: new Map(), active: 0 };
  let view = rows.map((_, index) => index);

  function sortValue(value, kind) {
    // A reason why there is no share is no share.
    if (kind === "share") return typeof value === "string" ? null : value;
    if (kind === "parts") return value ? Math.min(...value.map((v) => v ?? -1)) : null;
    if (kind === "decision") return value === null ? null : DECISIONS.indexOf(value);
    if (kind === "timings") return Array.isArray(value) ? value[0] : null;
    return value;
  }
  const collator = new Intl.Collator(undefined, { numeric: true });

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return collator.compare(a, b);
  }

  // Worse decisions sort first.
  const DECISIONS = ["fail", "warn", "pass"];

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
    state.active = 0;
    holder.scrollTop = 0;
    window_.clear();
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

  // ---- rows in sight
  const holder = find("rows");
  const body = find("videos").tBodies[0];
  const OVERSCAN = 6;
  let printed = false;
  const window_ = {
    start: 0,
    stop: 0,
    clear() { this.start = this.stop = 0; body.replaceChildren(...spacers); },
  };
  const spacers = ["before", "after"].map((name) => {
    const line = make("tr", "space");
    line.dataset.space = name;
    line.setAttribute("aria-hidden", "true");
    const cell = make("td");
    cell.colSpan = columns.length;
    line.append(cell);
    return line;
  });

  function rowHeight() {
    return parseFloat(getComputedStyle(holder).getPropertyValue("--row"));
  }

  function placeRow(position) {
    const line = renderRow(rows[view[position]]);
    line.dataset.position = String(position);
    line.setAttribute("aria-rowindex", String(position + 2));
    const link = line.querySelector("th a");
    link.tabIndex = position === state.active ? 0 : -1;
    return line;
  }

  function chooseWindow() {
    if (printed) return [0, view.length];
    const height = rowHeight();
    const first = Math.floor(holder.scrollTop / height) - OVERSCAN;
    const count = Math.ceil((holder.clientHeight || 600) / height) + 2 * OVERSCAN;
    const start = Math.min(Math.max(first, 0), Math.max(view.length - count, 0));
    return [start, Math.min(start + count, view.length)];
  }

  // Rows that stay in sight stay in the document, so that the focus does.
  function render() {
    fixWidths();
    const [start, stop] = chooseWindow();
    const [before, after] = spacers;
    if (!before.isConnected) window_.clear();
    if (start >= window_.stop || stop <= window_.start) {
      window_.clear();
      for (let place = start; place < stop; place += 1) after.before(placeRow(place));
    } else {
      for (let place = window_.start; place < start; place += 1) before.nextSibling.remove();
      for (let place = window_.stop; place > stop; place -= 1) after.previousSibling.remove();
      for (let place = Math.min(window_.start, stop) - 1; place >= start; place -= 1) before.after(placeRow(place));
      for (let place = Math.max(window_.stop, start); place < stop; place += 1) after.before(placeRow(place));
    }
    window_.start = start;
    window_.stop = stop;
    const height = rowHeight();
    before.firstChild.style.height = `${start * height}px`;
    after.firstChild.style.height = `${(view.length - stop) * height}px`;
    before.hidden = start === 0;
    after.hidden = stop === view.length;
    find("nothing").hidden = view.length > 0;
    find("videos").setAttribute("aria-rowcount", String(view.length + 1));
    const all = rows.length === view.length ? "" : ` of ${grouped(rows.length)}`;
    const shown = `${grouped(view.length)}${all} video${rows.length === 1 ? "" : "s"}`;
    if (find("shown").textContent !== shown) find("shown").textContent = shown;
    for (const [index, head] of [...find("videos").tHead.rows[0].cells].entries()) {
      head.setAttribute("aria-sort", index !== state.sort ? "none" : state.down ? "descending" : "ascending");
    }
    for (const tile of document.querySelectorAll("[data-status]")) {
      tile.setAttribute("aria-pressed", String((state.chosen.get(statusColumn) ?? "") === tile.dataset.status));
    }
  }

  // Columns keep their widths while rows come and go: those of the longest cells.
  let fixed = false;
  function fixWidths() {
    if (fixed || !holder.clientWidth || !rows.length) return;
    fixed = true;
    const length = (row, index) => (typeof row[index] === "string" ? row[index].length : row[index] === null ? 0 : 4);
    const longest = new Set(columns.map((_, index) => rows.reduce((most, row, place) => (length(row, index) > length(rows[most], index) ? place : most), 0)));
    body.replaceChildren(...[...longest].map((index) => renderRow(rows[index])));
    const widths = [...find("videos").tHead.rows[0].cells].map((cell) => Math.ceil(cell.getBoundingClientRect().width));
    find("widths").replaceChildren(...widths.map((width) => { const column = make("col"); column.style.width = `${width}px`; return column; }));
    find("videos").style.minWidth = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    find("videos").classList.add("fixed");
    window_.clear();
  }

  // The row in sight, with the focus on its link.
  function focusRow(position) {
    state.active = Math.min(Math.max(position, 0), view.length - 1);
    const height = rowHeight();
    const head = find("videos").tHead.offsetHeight;
    const top = state.active * height;
    if (top < holder.scrollTop) holder.scrollTop = top;
    else if (top + height > holder.scrollTop + holder.clientHeight - head) holder.scrollTop = top + height - holder.clientHeight + head;
    render();
    for (const link of body.querySelectorAll("th a")) link.tabIndex = Number(link.closest("tr").dataset.position) === state.active ? 0 : -1;
    body.querySelector(`tr[data-position="${state.active}"] th a`)?.focus({ preventScroll: true });
  }

  holder.addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
  addEventListener("resize", () => requestAnimationFrame(render));
  holder.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr[data-position]");
    if (!line || event.altKey || event.ctrlKey || event.metaKey) return;
    const here = Number(line.dataset.position);
    const page = Math.max(1, Math.floor(holder.clientHeight / rowHeight()) - 2);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, PageDown: here + page, PageUp: here - page, Home: 0, End: view.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    focusRow(to);
  });
  const print = (whole) => { printed = whole && !overview.hidden; window_.clear(); render(); };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));

  // ---- controls
  const selects = new Map();

  function choose(column, value) {
    if (value === null) state.chosen.delete(column);
    else state.chosen.set(column, value);
    update();
  }

  function addFilter(column, values) {
    const select = make("select");
    select.setAttribute("aria-label", "Filter by " + columns[column].label);
    select.append(new Option(columns[column].label + ": all", "all"));
    values.forEach((value, index) => select.append(new Option(value || (columns[column].kind === "decision" ? "none" : "(empty)"), String(index))));
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
        update();
      });
      cell.append(button);
      head.append(cell);
      if (!["status", "decision", "metadata"].includes(column.kind)) return;
      const values = [...new Set(rows.map((row) => row[index]))].sort(collator.compare);
      if (values.length > 1 && values.length <= 24) addFilter(index, values);
    });
    find("videos").tHead.append(head);
  }

  function saveTable() {
    // A spreadsheet takes a text that begins like a formula for one.
    const tame = (text) => (/^[=+\-@]/.test(text) && !Number.isFinite(Number(text)) ? "'" + text : text);
    const clean = (value) => (value === null ? "" : Array.isArray(value) ? value.join(",") : tame(String(value).replace(/\s+/g, " ")));
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
    update();
  });
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

  // ---- the page of a video
  const overview = find("overview");
  const opened = find("video");
  const title = document.title;
  const places = new Map(rows.map((row, index) => [row[0], index]));
  let back = null;

  const hue = (number, count) => `hsl(${Math.round((360 * number) / count)} 70% 50%)`;
  const colour = (number, count) => (count <= data.animalColours.length ? data.animalColours[number] : hue(number, count));
  const partColour = (part, number, count) => (Object.hasOwn(data.partColours, part) ? data.partColours[part] : hue(number, count));

  function listFacts(row) {
    const left = new Set(["name", "reason", "parts"]);
    const facts = columns.flatMap(({ kind, label }, index) => (left.has(kind) || row[index] === null || row[index] === "" ? [] : [[label, draw[kind](row[index])]]));
    if (row[reasonColumn]) facts.push(["Reason", row[reasonColumn]]);
    return facts;
  }

  function open(name) {
    const index = places.get(name);
    if (index === undefined) { close(); return; }
    if (!back) back = [scrollX, scrollY];
    const row = rows[index];
    const here = view.indexOf(index);
    const beside = (step) => (here < 0 || view[here + step] === undefined ? undefined : rows[view[here + step]][0]);
    overview.hidden = true;
    opened.hidden = false;
    document.title = `${name} – ${title}`;
    scrollTo(0, find("sections").offsetTop);
    state.active = Math.max(here, 0);
    const file = data.details[index];
    details.show(opened, {
      name,
      facts: listFacts(row),
      findings: Object.hasOwn(findings, name) ? findings[name] : [],
      clip: data.clips[index],
      file: file === null ? null : data.shards[file],
      pcutoff: data.pcutoff,
      timeColours: data.timeColours,
      colour,
      partColour,
      previous: beside(-1),
      next: beside(1),
    });
  }

  function close() {
    if (opened.hidden) return;
    overview.hidden = false;
    opened.hidden = true;
    opened.replaceChildren();
    document.title = title;
    render();
    const anchor = location.hash.length > 1 ? find(location.hash.slice(1)) : null;
    if (anchor && anchor.id !== "cohort") anchor.scrollIntoView();
    else if (back) {
      scrollTo(...back);
      focusRow(state.active);
    }
    back = null;
  }

  function route() {
    const [, name] = location.hash.match(/^#video=(.*)$/s) || [];
    let video = null;
    // An address that somebody broke names no video.
    try { video = name === undefined ? null : decodeURIComponent(name); } catch { video = null; }
    if (video === null) close();
    else open(video);
  }

  addEventListener("hashchange", route);
  route();

  find("copy").addEventListener("click", async (event) => {
    const range = document.createRange();
    range.selectNodeContents(find("methods"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    try { await navigator.clipboard.writeText(find("methods").textContent); event.target.textContent = "Copied"; }
    catch { event.target.textContent = "Selected"; }
  });
})();
