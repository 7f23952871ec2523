// The page of one video: its data come in a script file of its shard, loaded when it is opened.
const details = (() => {
  const { make, draw, grouped, formatDuration } = common;
  const loads = new Map();
  const UNDECODABLE = 4;
  const LANES = ["absent", "followed", "gap", "uncertain", "undecodable"];

  // The script file of a shard calls this.
  window.cohortposeData = (data) => { document.currentScript.cohortpose = data; };

  function load(file) {
    if (!loads.has(file)) {
      loads.set(file, new Promise((done) => {
        const script = document.createElement("script");
        script.addEventListener("load", () => done(script.cohortpose ? new Map(script.cohortpose.videos) : null));
        script.addEventListener("error", () => { loads.delete(file); done(null); });
        script.src = file;
        document.head.append(script);
      }));
    }
    return loads.get(file);
  }

  // ---- numbers
  const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const shares = (text) => Array.from(unpack(text), (value) => (value === 255 ? null : value / 250));
  function words(text) {
    const bytes = unpack(text);
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, place) => {
      const word = view.getUint16(2 * place, true);
      return word === 65535 ? null : word / 65000;
    });
  }
  const mean = (values) => {
    const known = values.filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1) + "\u202f%");

  // Runs of equal values: value, start and stop.
  function findRuns(values) {
    const runs = [];
    values.forEach((value, place) => {
      const last = runs[runs.length - 1];
      if (last && last[0] === value) last[2] = place + 1;
      else runs.push([value, place, place + 1]);
    });
    return runs;
  }

  // A path through values from 0 to 1 in a box of width and height 1, interrupted where one is not known.
  function joinValues(values) {
    let pen = "M";
    return values.map((value, place) => {
      if (value === null) { pen = "M"; return ""; }
      const part = `${pen}${((place + 0.5) / values.length).toFixed(4)} ${(1 - value).toFixed(4)}`;
      pen = "L";
      return part;
    }).join("");
  }

  // The area between two curves.
  function fillBetween(low, high) {
    return findRuns(low.map((value, place) => value !== null && high[place] !== null)).filter(([known]) => known).map(([, start, stop]) => {
      const point = (place, value) => `${((place + 0.5) / low.length).toFixed(4)} ${(1 - value).toFixed(4)}`;
      const there = [], back = [];
      for (let place = start; place < stop; place += 1) { there.push(point(place, high[place])); back.unshift(point(place, low[place])); }
      return `M${there.join("L")}L${back.join("L")}z`;
    }).join("");
  }

  // ---- pieces
  function panel(title, ...content) {
    const figure = make("figure", "panel course");
    figure.append(make("figcaption", "", title), ...content.filter(Boolean));
    return figure;
  }

  function box(label, ...content) {
    return draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...content);
  }

  function axis(seconds) {
    const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => make("span", "", formatDuration(share * seconds)));
    const line = make("div", "course-axis", ...marks);
    line.setAttribute("aria-hidden", "true");
    return line;
  }

  function scale(top, bottom) {
    const ends = make("div", "course-scale", make("span", "", top), make("span", "", bottom));
    ends.setAttribute("aria-hidden", "true");
    return ends;
  }

  // "12.0-13.5, 40.2-41.0" as pairs of numbers; what is no stretch is left out.
  const parseSeconds = (text) => text.split(",").map((part) => part.trim().split(/[-–]/).map(Number)).filter((ends) => ends.length === 2 && ends.every(Number.isFinite));

  function drawConfidence(entry, context) {
    const [middle, low] = [shares(entry.confidence.mean), shares(entry.confidence.low)];
    const marks = context.findings.flatMap((finding) => parseSeconds(finding[6])).map(([from, to]) => {
      const [start, stop] = [from, Math.max(to, from + entry.seconds / 200)].map((second) => Math.min(Math.max(second / (entry.seconds || 1), 0), 1));
      return draw("rect", { class: "found-stretch", x: start, width: Math.max(stop - start, 0), y: 0, height: 1 });
    });
    const lines = entry.worst.map((frame) => draw("line", { class: "worst-line", x1: frame.seconds / (entry.seconds || 1), x2: frame.seconds / (entry.seconds || 1), y1: 0, y2: 1 }));
    const cut = draw("line", { class: "cut", x1: 0, x2: 1, y1: 1 - context.pcutoff, y2: 1 - context.pcutoff });
    const known = low.filter((value) => value !== null);
    const told = `Confidence over time: mean ${percent(mean(middle))}, lowest frame ${percent(known.length ? Math.min(...known) : null)}`;
    const plot = make("div", "course-plot", scale("1", "0"));
    plot.append(box(told, ...marks, draw("path", { class: "course-band", d: fillBetween(low, middle) }), cut, ...lines, draw("path", { class: "course-line", d: joinValues(middle) })));
    const legend = make("ul", "legend",
      make("li", "", make("i", "key tone-1"), "mean of the bodyparts"),
      make("li", "", make("i", "key-band"), "down to the worst frame"),
      make("li", "", make("i", "key-cut"), `cutoff ${context.pcutoff}`),
      entry.worst.length ? make("li", "", make("i", "key-worst"), "worst frames, shown below") : null,
      marks.length ? make("li", "", make("i", "key-found"), "findings of quality control") : null);
    return panel("Confidence over time", legend, plot, axis(entry.seconds));
  }

  function drawParts(entry) {
    const values = shares(entry.parts);
    const count = values.length / Math.max(entry.bodyparts.length, 1);
    if (!count) return null;
    const rows = entry.bodyparts.map((part, number) => {
      const own = values.slice(number * count, (number + 1) * count);
      // Twenty steps are all that an eye tells apart.
      const steps = own.map((value) => (value === null ? null : Math.round(20 * value * value)));
      const cells = findRuns(steps).filter(([step]) => step !== null).map(([step, start, stop]) => {
        const cell = draw("rect", { x: start / count, width: (stop - start) / count, y: 0, height: 1 });
        cell.style.fill = `color-mix(in oklab, var(--tone-1) ${5 * step}%, var(--raised))`;
        return cell;
      });
      const row = make("div", "lane", make("span", "lane-name", part), undefined);
      row.append(box(`Confidence of ${part} over time, mean ${percent(mean(own))}`, ...cells), make("b", "", percent(mean(own))));
      return row;
    });
    const ends = make("div", "lane lane-axis", make("span"), axis(entry.seconds), make("span"));
    return panel("Confidence by bodypart", make("p", "muted note", "Strong colour: high confidence. Right: mean."), ...rows, ends);
  }

  function drawSpeed(entry, context) {
    if (!entry.speed.most) return null;
    const lines = entry.speed.animals.map((packed, number) => {
      const line = draw("path", { class: "course-line", d: joinValues(shares(packed)) });
      line.style.stroke = entry.animals.length > 1 ? context.colour(number, entry.animals.length) : "var(--tone-1)";
      return line;
    });
    const told = `Speed over time: mean ${entry.speed.mean} px/s, median ${entry.speed.median} px/s`;
    const plot = make("div", "course-plot", scale(`${grouped(Number(entry.speed.most.toPrecision(3)))}\u00a0px/s`, "0"));
    plot.append(box(told, ...lines));
    const names = entry.animals.length > 1 ? animalLegend(entry, context) : null;
    return panel("Speed over time", make("p", "muted note", `Mean ${entry.speed.mean} px/s, median ${entry.speed.median} px/s: displacement of the bodyparts over a fifth of a second.`), names, plot, axis(entry.seconds));
  }

  function animalLegend(entry, context) {
    return make("ul", "legend", ...entry.paths.map((_, number) => {
      const key = make("i", "key");
      key.style.background = context.colour(number, entry.animals.length);
      return make("li", "", key, entry.animals[number]);
    }));
  }

  function drawPaths(entry, context) {
    const [width, height] = entry.size;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Trajectory of ${entry.animals.length > 1 ? entry.animals.length + " animals" : "the animal"} over the frame` });
    entry.paths.forEach((packed, animal) => {
      const values = words(packed);
      const points = Array.from({ length: values.length / 2 }, (_, place) => (values[2 * place] === null || values[2 * place + 1] === null ? null : [values[2 * place] * width, values[2 * place + 1] * height]));
      const periods = entry.animals.length > 1 ? [context.colour(animal, entry.animals.length)] : context.timeColours;
      periods.forEach((colour, period) => {
        const [start, stop] = [period, period + 1].map((edge) => Math.floor((edge * points.length) / periods.length));
        let pen = "M";
        // Stretches overlap by one point, so that the line does not break between colours.
        const path = points.slice(start, stop + 1).map((point) => {
          if (!point) { pen = "M"; return ""; }
          const part = `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
          pen = "L";
          return part;
        }).join("");
        if (path) svg.append(draw("path", { d: path, fill: "none", stroke: colour, "stroke-width": width / 220, "stroke-linejoin": "round", "stroke-linecap": "round" }));
      });
    });
    const ramp = make("span", "ramp", ...context.timeColours.map((colour) => { const step = make("i"); step.style.background = colour; return step; }));
    ramp.setAttribute("aria-hidden", "true");
    const note = entry.animals.length > 1 ? animalLegend(entry, context) : make("p", "muted note", "Centre of the bodyparts, ", ramp, " from start to end.");
    return panel("Trajectory", note, svg);
  }

  function drawPlaces(entry) {
    const [columns, rows] = entry.places.grid;
    const [width, height] = entry.size;
    const cells = shares(entry.places.cells);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Occupancy of the frame in ${columns} by ${rows} fields; at most ${percent(entry.places.most)} of the time in one field` });
    cells.forEach((value, place) => {
      if (!value) return;
      const cell = draw("rect", { x: ((place % columns) * width) / columns, y: (Math.floor(place / columns) * height) / rows, width: width / columns + 0.5, height: height / rows + 0.5, "data-tip": `${(100 * entry.places.most * value * value).toPrecision(2)} % of the time` });
      cell.style.fill = `color-mix(in oklab, var(--tone-2) ${(100 * value).toFixed(0)}%, var(--raised))`;
      svg.append(cell);
    });
    return panel("Occupancy", make("p", "muted note", `Share of the time in each field; at most ${percent(entry.places.most)}.`), svg);
  }

  function drawTracks(entry, context) {
    if (!entry.tracks) return [];
    const lanes = entry.tracks.lanes.map((packed, animal) => {
      const values = Array.from(unpack(packed));
      const blocks = findRuns(values).filter(([value]) => value > 0 && value < LANES.length).map(([value, start, stop]) => {
        // Heights tell statuses apart, too, not only colours.
        const [top, tall] = value === 2 ? [0.62, 0.38] : value === UNDECODABLE ? [0.35, 0.3] : value === 3 ? [0, 1] : [0.14, 0.72];
        return draw("rect", { class: "lane-" + LANES[value], x: start / values.length, width: (stop - start) / values.length, y: top, height: tall });
      });
      const followed = values.filter((value) => value === 1).length / Math.max(values.length, 1);
      const lane = make("div", "lane");
      lane.style.setProperty("--animal", context.colour(animal, entry.animals.length));
      const spoken = `${entry.animals[animal]}: ` + LANES.map((name, value) => [name, values.filter((one) => one === value).length]).filter(([, count]) => count).map(([name, count]) => `${name} in ${percent(count / values.length)}`).join(", ") + " of the stretches";
      lane.append(make("span", "lane-name", make("i"), entry.animals[animal]), box(spoken, ...blocks), make("b", "", percent(followed)));
      return lane;
    });
    const legend = make("ul", "legend lanes-legend", ...[["followed", "followed"], ["uncertain", "may have been exchanged"], ["gap", "gap: not found, between frames in which it was"], ["undecodable", "frames that could not be decoded"], ["absent", "absent"]].map(([name, text]) => make("li", "", make("i", "key-" + name), text)));
    const timeline = panel("Identities over time", legend, ...lanes, make("div", "lane lane-axis", make("span"), axis(entry.seconds), make("span")));
    const flags = entry.tracks.flags.map((flag) => make("li", "", make("span", "badge flag-" + flag.kind, flag.kind === "swap" ? "swap?" : "gap"), ` frame${flag.last > flag.first ? "s" : ""} ${grouped(flag.first)}${flag.last > flag.first ? " to " + grouped(flag.last) : ""}, at ${formatDuration(flag.seconds)}: ${flag.animals.join(", ")}`));
    if (flags.length) timeline.append(make("h3", "", "Frames to check"), make("ul", "flags", ...flags));
    if (entry.tracks.left_out) timeline.append(make("p", "muted note", `${grouped(entry.tracks.left_out)} shorter ones are not listed.`));
    return [timeline];
  }

  function drawWorst(entry, context) {
    if (!entry.worst.length) return [];
    const [width, height] = entry.size;
    const unit = width / 100;
    const figures = entry.worst.map((frame) => {
      const told = `Frame ${grouped(frame.frame)} at ${formatDuration(frame.seconds)}, mean confidence ${frame.confidence}: ${frame.why}`;
      const svg = draw("svg", { viewBox: `-0.5 -0.5 ${width} ${height}`, role: "img", "aria-label": told });
      if (/^data:image\/webp;base64,/.test(frame.picture)) svg.append(draw("image", { href: frame.picture, x: -0.5, y: -0.5, width, height, preserveAspectRatio: "none" }));
      const points = draw("g", { class: "points" });
      for (const [animal, part, x, y, confidence] of frame.points) {
        const colour = entry.animals.length > 1 ? context.colour(animal, entry.animals.length) : context.partColour(entry.bodyparts[part], part, entry.bodyparts.length);
        const weak = !(confidence >= context.pcutoff);
        points.append(draw("circle", { cx: x, cy: y, r: 1.1 * unit, fill: colour, stroke: weak ? colour : "#000", "fill-opacity": weak ? 0.25 : 1, "stroke-width": 0.3 * unit, "data-tip": `${entry.animals.length > 1 ? entry.animals[animal] + " " : ""}${entry.bodyparts[part]}: confidence ${confidence}` }));
      }
      svg.append(points);
      const figure = make("figure", "panel sample");
      figure.append(svg, make("figcaption", "", make("div", "sample-title", make("b", "", `Frame ${grouped(frame.frame)}`), ` ${formatDuration(frame.seconds)}`), make("div", "muted", `${frame.why}; mean confidence ${frame.confidence}${frame.picture ? "" : "; no picture: " + (entry.missing || "not drawn")}`)));
      return figure;
    });
    const toggle = make("input");
    toggle.type = "checkbox";
    toggle.checked = true;
    const grid = make("div", "grid three worst-frames", ...figures);
    toggle.addEventListener("change", () => grid.classList.toggle("bare", !toggle.checked));
    return [make("h3", "", "Worst frames"), make("p", "lead", "Faint points are below the cutoff. ", make("label", "", toggle, " Show the points")), grid];
  }

  function drawClip(context) {
    if (!context.clip) return [];
    const video = make("video");
    video.controls = video.muted = true;
    video.preload = "none";
    video.setAttribute("aria-label", "Clip of the worst seconds with the poses drawn on it");
    const holder = make("div", "panel clip", video);
    video.addEventListener("error", () => holder.replaceChildren(make("p", "muted pad", "The clip cannot be played: it lies in the results folder, beside the folder of this report.")));
    video.src = context.clip;
    return [make("h3", "", "Worst seconds"), holder];
  }

  function tabulateFindings(context) {
    if (!context.findings.length || context.findings.every((finding) => !finding[3] && !finding[2])) return [];
    const titles = ["Decision", "By", "Check", "Reason", "Value", "Limit", "Seconds", "Remedy"];
    const body = make("tbody", "", ...context.findings.map((cells) => make("tr", "", ...cells.map((cell, place) => make("td", "", place ? cell : make("span", "badge decision-" + cell, cell))))));
    const head = make("tr", "", ...titles.map((title) => { const cell = make("th", "", title); cell.scope = "col"; return cell; }));
    const table = make("table", "findings", make("caption", "hidden", "Findings of quality control"), make("thead", "", head), body);
    return [make("h3", "", "Quality"), scroll("Findings of quality control", table)];
  }

  function scroll(label, content) {
    const holder = make("div", "panel scroll", content);
    holder.tabIndex = 0;
    holder.setAttribute("role", "region");
    holder.setAttribute("aria-label", label);
    return holder;
  }

  // ---- the view
  function show(target, context) {
    const heading = make("h2", "video-name", context.name);
    heading.tabIndex = -1;
    const link = (text, name, label) => {
      const step = make("a", "button", text);
      step.setAttribute("aria-label", label);
      if (name === undefined) { step.setAttribute("aria-disabled", "true"); step.setAttribute("role", "link"); } else step.href = "#video=" + encodeURIComponent(name);
      return step;
    };
    const back = make("a", "button back", "‹ All videos");
    back.href = "#cohort";
    const bar = make("div", "video-bar", back, make("span", "spacer"), link("Previous", context.previous, "Previous video of the table"), link("Next", context.next, "Next video of the table"));
    const facts = make("dl", "panel facts", ...context.facts.map(([label, value]) => make("div", label === "Reason" ? "wide" : "", make("dt", "", label), make("dd", "", value))));
    const body = make("div", "video-body");
    body.setAttribute("aria-live", "polite");
    target.replaceChildren(bar, heading, facts, ...tabulateFindings(context), ...drawClip(context), body);
    heading.focus({ preventScroll: true });
    if (context.file === null) {
      body.append(make("p", "panel pad", "There are no poses of this video."));
      return Promise.resolve();
    }
    body.append(make("p", "muted", "Loading …"));
    return load(context.file).then((videos) => {
      if (!target.contains(body)) return;
      const entry = videos ? videos.get(context.name) : null;
      if (!entry) {
        body.replaceChildren(make("p", "panel pad", `The file ${context.file} is not beside this page: pass on the whole folder “report”.`));
        return;
      }
      const where = make("div", "grid two", drawPaths(entry, context), drawPlaces(entry));
      const courses = [drawConfidence(entry, context), drawParts(entry), drawSpeed(entry, context)].filter(Boolean);
      body.replaceChildren(...courses, ...drawTracks(entry, context), where, ...drawWorst(entry, context));
    });
  }

  return { show };
})();
