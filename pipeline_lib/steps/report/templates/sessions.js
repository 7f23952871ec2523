// Sessions in three dimensions: a skeleton to turn and play, beside the views of its cameras.
(() => {
  const find = (id) => document.getElementById(id);
  if (!find("player")) return;
  const NONE = 65535;
  const SVG = "http://www.w3.org/2000/svg";
  const canvas = find("skeleton");
  const context = canvas.getContext("2d");
  const loaded = new Map();
  const view = { yaw: 0.6, pitch: 0.5, zoom: 1, cameras: false };
  let session = null;
  let moment = 0;
  let timer = null;

  // Data stay text until their session is chosen.
  function load(number) {
    if (!loaded.has(number)) {
      const data = JSON.parse(find("session-" + number).textContent);
      const bytes = Uint8Array.from(atob(data.points), (letter) => letter.charCodeAt(0));
      const words = new DataView(bytes.buffer);
      const values = new Float64Array(bytes.length / 2);
      for (let place = 0; place < values.length; place += 1) {
        const word = words.getUint16(2 * place, true);
        values[place] = word === NONE ? NaN : data.low[place % 3] + word * data.step;
      }
      loaded.set(number, { ...data, values });
    }
    return loaded.get(number);
  }

  // Point of an individual at the moment shown, in the axes of the file; null: none.
  function pointOf(individual, bodypart) {
    const count = session.bodyparts.length;
    const start = 3 * ((moment * session.individuals.length + individual) * count + bodypart);
    const point = session.values.subarray(start, start + 3);
    return Number.isNaN(point[0]) ? null : point;
  }

  // ---- drawing
  function project(point) {
    const [a, b, c] = [0, 1, 2].map((axis) => point[axis] - session.middle[axis]);
    const [x, y, z] = session.turn.map((row) => row[0] * a + row[1] * b + row[2] * c);
    return place(x, y, z);
  }

  function place(x, y, z) {
    const [cos, sin] = [Math.cos(view.yaw), Math.sin(view.yaw)];
    const [right, away] = [cos * x - sin * y, sin * x + cos * y];
    const [up, depth] = [Math.cos(view.pitch) * z + Math.sin(view.pitch) * away, Math.cos(view.pitch) * away - Math.sin(view.pitch) * z];
    const distance = 2.6 * session.size;
    const near = distance + depth;
    if (near < 0.05 * distance) return null;
    const scale = (1.15 * view.zoom * Math.min(canvas.width, canvas.height) * distance) / (session.size * near);
    return [canvas.width / 2 + scale * right, canvas.height / 2 - scale * up, near];
  }

  function line(from, to) {
    if (!from || !to) return;
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0], to[1]);
    context.stroke();
  }

  function drawGround(colour) {
    context.strokeStyle = colour;
    context.lineWidth = devicePixelRatio;
    const centre = session.turn.map((row) => row.reduce((sum, value, axis) => sum + value * session.middle[axis], 0));
    const level = session.ground - centre[2];
    const half = 0.6 * session.size;
    for (let step = -4; step <= 4; step += 1) {
      const at = (step / 4) * half;
      line(place(at, -half, level), place(at, half, level));
      line(place(-half, at, level), place(half, at, level));
    }
  }

  function drawCameras(colour, ink) {
    context.strokeStyle = colour;
    context.fillStyle = ink;
    context.lineWidth = 1.5 * devicePixelRatio;
    context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    for (const camera of session.cameras) {
      const top = project(camera.centre);
      const corners = camera.corners.map(project);
      corners.forEach((corner, number) => {
        line(top, corner);
        line(corner, corners[(number + 1) % corners.length]);
      });
      if (top) context.fillText(camera.name, top[0] + 6 * devicePixelRatio, top[1] - 6 * devicePixelRatio);
    }
  }

  function draw() {
    if (!session) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    context.lineCap = "round";
    drawGround(colour("--line"));
    if (view.cameras) drawCameras(colour("--muted"), colour("--ink"));
    session.individuals.forEach((_, individual) => {
      const points = session.bodyparts.map((__, bodypart) => pointOf(individual, bodypart)).map((point) => point && project(point));
      context.strokeStyle = context.fillStyle = session.colours[individual];
      context.lineWidth = 3 * devicePixelRatio;
      for (const [one, other] of session.edges) line(points[one], points[other]);
      for (const point of points) {
        if (!point) continue;
        context.beginPath();
        context.arc(point[0], point[1], (4.2 * devicePixelRatio * 2.6 * session.size) / point[2], 0, 2 * Math.PI);
        context.fill();
      }
    });
  }

  // ---- text
  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

  function tell() {
    const points = session.individuals.length * session.bodyparts.length;
    const error = session.error[moment];
    const told = [
      `Moment ${grouped(session.first + moment)} of ${grouped(session.moments)}, ${session.times[moment].toFixed(2)} s`,
      `${session.found[moment]} of ${points} points`,
      ...(error === null ? [] : [`median error ${error.toFixed(2)} px`]),
    ].join("; ");
    find("player-state").textContent = told;
    canvas.setAttribute("aria-label", `Skeleton of ${session.name}. ${told}`);
    find("moment").value = String(moment);
    find("moment").setAttribute("aria-valuetext", told);
    if (find("positions").open) fillPositions();
  }

  function fillPositions() {
    const rows = session.individuals.flatMap((individual, number) =>
      session.bodyparts.map((bodypart, part) => {
        const row = document.createElement("tr");
        const point = pointOf(number, part);
        const cells = [individual, bodypart, ...[0, 1, 2].map((axis) => (point ? `${point[axis].toPrecision(5)} ${session.unit}` : "–"))];
        cells.forEach((text, place) => {
          const cell = document.createElement(place < 2 ? "th" : "td");
          if (place > 1) cell.className = "number";
          cell.textContent = text;
          row.append(cell);
        });
        return row;
      }));
    find("positions").querySelector("tbody").replaceChildren(...rows);
  }

  // ---- views
  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function drawView(picture) {
    const { width, height } = picture;
    const unit = width / 100;
    const svg = element("svg", { viewBox: `-0.5 -0.5 ${width} ${height}`, role: "img" });
    if (picture.image) svg.append(element("image", { href: picture.image, x: -0.5, y: -0.5, width, height, preserveAspectRatio: "none" }));
    else svg.append(element("text", { class: "note", x: width / 2, y: height / 2, "text-anchor": "middle", style: `font-size:${5 * unit}px` }, picture.note));
    const places = new Map(picture.points.map((point) => [`${point[0]} ${point[1]}`, point]));
    session.individuals.forEach((_, individual) => {
      for (const [one, other] of session.edges) {
        const [from, to] = [places.get(`${individual} ${one}`), places.get(`${individual} ${other}`)];
        if (from && to) svg.append(element("line", { x1: from[2], y1: from[3], x2: to[2], y2: to[3], stroke: session.colours[individual], "stroke-width": 0.5 * unit, "stroke-opacity": 0.8 }));
      }
    });
    const errors = [];
    for (const [individual, bodypart, x, y, seenX, seenY, error] of picture.points) {
      const stroke = session.colours[individual];
      const mark = element("g", { "data-tip": `${session.individuals[individual]} ${session.bodyparts[bodypart]}${error === null ? ": not found in this view" : `: ${error} px`}` });
      if (seenX !== null) {
        mark.append(element("line", { x1: x, y1: y, x2: seenX, y2: seenY, stroke, "stroke-width": 0.5 * unit }));
        mark.append(element("circle", { cx: seenX, cy: seenY, r: 1.7 * unit, fill: "transparent", stroke, "stroke-width": 0.5 * unit }));
      }
      mark.append(element("circle", { cx: x, cy: y, r: 0.9 * unit, fill: stroke, stroke: "#000", "stroke-opacity": 0.55, "stroke-width": 0.2 * unit }));
      svg.append(mark);
      if (error !== null) errors.push(error);
    }
    errors.sort((a, b) => a - b);
    const median = errors.length ? `, median error ${errors[errors.length >> 1].toFixed(2)} px` : "";
    const told = `${picture.camera}${picture.frame < 0 ? "" : `, frame ${grouped(picture.frame)}`}${median}`;
    svg.setAttribute("aria-label", `View of ${told}; ${picture.points.length} projected points`);
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.className = "muted";
    caption.textContent = told;
    figure.append(svg, caption);
    return figure;
  }

  function showPicture(number, seek) {
    const picture = session.pictures[number];
    find("views").replaceChildren(...picture.views.map(drawView));
    [...find("pictures").children].forEach((button, place) => button.setAttribute("aria-pressed", String(place === number)));
    if (seek) show(picture.moment);
  }

  // ---- playing
  function show(number) {
    moment = Math.min(Math.max(number, 0), session.times.length - 1);
    draw();
    tell();
  }

  function stop() {
    if (timer !== null) cancelAnimationFrame(timer);
    timer = null;
    find("play").textContent = "Play";
    find("play").setAttribute("aria-pressed", "false");
  }

  function play() {
    if (moment >= session.times.length - 1) show(0);
    let began = null;
    const from = session.times[moment];
    const step = (now) => {
      began ??= now;
      const time = from + (Number(find("speed").value) * (now - began)) / 1000;
      let next = moment;
      while (next < session.times.length - 1 && session.times[next + 1] <= time) next += 1;
      if (next !== moment) show(next);
      if (next >= session.times.length - 1) stop();
      else timer = requestAnimationFrame(step);
    };
    find("play").textContent = "Pause";
    find("play").setAttribute("aria-pressed", "true");
    timer = requestAnimationFrame(step);
  }

  const toggle = () => (timer === null ? play() : stop());

  function turn(right, up) {
    view.yaw += right;
    view.pitch = Math.min(Math.max(view.pitch + up, -0.2), Math.PI / 2);
    draw();
  }

  function zoom(factor) {
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.1), 20);
    draw();
  }

  function showCameras() {
    view.cameras = !view.cameras;
    // Cameras stand around the scene.
    if (view.cameras && view.zoom >= 1) view.zoom = 0.35;
    else if (!view.cameras && view.zoom < 1) view.zoom = 1;
    find("show-cameras").setAttribute("aria-pressed", String(view.cameras));
    draw();
  }

  function reset() {
    Object.assign(view, { yaw: 0.6, pitch: 0.5, zoom: view.cameras ? 0.35 : 1 });
    draw();
  }

  function choose(number) {
    stop();
    session = load(number);
    find("moment").max = String(session.times.length - 1);
    const whole = session.times.length === session.moments;
    find("session-excerpt").textContent = whole
      ? `${grouped(session.moments)} moments`
      : `moments ${grouped(session.first)} to ${grouped(session.first + session.times.length - 1)} of ${grouped(session.moments)}: those with the most points`;
    find("pictures").replaceChildren(...session.pictures.map((picture, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.textContent = `Moment ${grouped(session.first + picture.moment)}${picture.label ? ": " + picture.label : ""}`;
      button.addEventListener("click", () => { stop(); showPicture(place, true); });
      return button;
    }));
    for (const panel of document.querySelectorAll(".session-errors")) panel.hidden = panel.dataset.session !== String(number);
    show(0);
    if (session.pictures.length) showPicture(0, true);
    else find("views").replaceChildren();
  }

  // ---- controls
  const keys = {
    ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, 0.1), ArrowDown: () => turn(0, -0.1),
    "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15), " ": toggle,
    ",": () => { stop(); show(moment - 1); }, ".": () => { stop(); show(moment + 1); }, c: showCameras, C: showCameras, Home: reset,
  };
  canvas.addEventListener("keydown", (event) => {
    const act = event.altKey || event.ctrlKey || event.metaKey ? null : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  let grip = null;
  canvas.addEventListener("pointerdown", (event) => {
    grip = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("turning");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    turn((event.clientX - grip[0]) * -0.01, (event.clientY - grip[1]) * 0.01);
    grip = [event.clientX, event.clientY];
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { grip = null; canvas.classList.remove("turning"); });
  }
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400));
  }, { passive: false });
  find("play").addEventListener("click", toggle);
  find("show-cameras").addEventListener("click", showCameras);
  find("reset-view").addEventListener("click", reset);
  find("moment").addEventListener("input", (event) => { stop(); show(Number(event.target.value)); });
  find("speed").addEventListener("change", () => { if (timer !== null) { stop(); play(); } });
  find("session-choice").addEventListener("change", (event) => choose(Number(event.target.value)));
  find("positions").addEventListener("toggle", () => { if (find("positions").open) fillPositions(); });
  find("scheme").addEventListener("click", () => requestAnimationFrame(draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestAnimationFrame(draw));
  new ResizeObserver(draw).observe(canvas);
  choose(0);
})();
