// Show a frame: zoom, pan and brightness, with a transparent canvas for what is drawn upon it.
//
// Positions in a frame are in px, (0, 0) being the centre of its top-left pixel.

const SMALLEST_ZOOM = 0.02;
const LARGEST_ZOOM = 60;
const CLICK = 4; // px that the pointer may move within a click
const PIXELS_FROM = 3; // zoom at which single pixels are shown

export class FrameViewer {
  // host: an element whose size the viewer takes.
  // hooks: draw(context, viewer); grab(position, event), which returns whether something is to be
  // dragged; drag(position, event); drop(); click(position, event); changed().
  constructor(host, hooks = {}) {
    this.host = host;
    this.hooks = hooks;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.width = 0;
    this.height = 0;
    this.brightness = 1;
    this.contrast = 1;
    this.isFitted = true;
    this.image = document.createElement("img");
    this.canvas = document.createElement("canvas");
    for (const element of [this.image, this.canvas]) {
      element.className = "cp-layer";
      element.draggable = false;
    }
    this.image.alt = "";
    host.append(this.image, this.canvas);
    this.observer = new ResizeObserver(() => this.#resize());
    this.observer.observe(host);
    this.#listen();
  }

  close() {
    this.observer.disconnect();
    this.image.remove();
    this.canvas.remove();
  }

  // Show an image; the section shown stays where the size stays.
  async show(url) {
    const image = new Image();
    image.className = "cp-layer";
    image.draggable = false;
    image.alt = "";
    image.src = url;
    const order = (this.order = (this.order ?? 0) + 1);
    await image.decode();
    if (order !== this.order) return false; // a later one was asked for meanwhile
    this.image.replaceWith(image);
    this.image = image;
    const same = image.naturalWidth === this.width && image.naturalHeight === this.height;
    this.width = image.naturalWidth;
    this.height = image.naturalHeight;
    if (!same || this.isFitted) this.fit();
    // At once: the image would be seen unscaled until the next turn.
    this.#draw();
    return true;
  }

  clear() {
    this.order = (this.order ?? 0) + 1;
    this.image.removeAttribute("src");
    this.width = this.height = 0;
    this.redraw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.host;
    if (!this.width || !clientWidth) return;
    this.zoom = Math.min(clientWidth / this.width, clientHeight / this.height);
    this.left = (clientWidth - this.width * this.zoom) / 2;
    this.top = (clientHeight - this.height * this.zoom) / 2;
    this.isFitted = true;
    this.redraw();
  }

  // Zoom about a place of the screen; without it, about the middle.
  zoomBy(factor, [x, y] = [this.host.clientWidth / 2, this.host.clientHeight / 2]) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(SMALLEST_ZOOM, this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.isFitted = false;
    this.redraw();
  }

  panBy(x, y) {
    this.left += x;
    this.top += y;
    this.isFitted = false;
    this.redraw();
  }

  // Show a part of the frame, given by positions in it, with a margin in px of the frame.
  zoomTo(positions, margin = 40) {
    if (!positions.length) return this.fit();
    const [xs, ys] = [positions.map((p) => p[0]), positions.map((p) => p[1])];
    const [x1, x2] = [Math.min(...xs) - margin, Math.max(...xs) + margin];
    const [y1, y2] = [Math.min(...ys) - margin, Math.max(...ys) + margin];
    const { clientWidth, clientHeight } = this.host;
    this.zoom = Math.min(LARGEST_ZOOM, clientWidth / (x2 - x1), clientHeight / (y2 - y1));
    this.left = clientWidth / 2 - ((x1 + x2) / 2 + 0.5) * this.zoom;
    this.top = clientHeight / 2 - ((y1 + y2) / 2 + 0.5) * this.zoom;
    this.isFitted = false;
    this.redraw();
  }

  // Move the section shown as little as is needed to see a position.
  reveal([x, y], margin = 40) {
    const [sx, sy] = this.toScreen([x, y]);
    const { clientWidth, clientHeight } = this.host;
    const move = (at, size) =>
      at < margin ? margin - at : at > size - margin ? size - margin - at : 0;
    const [dx, dy] = [move(sx, clientWidth), move(sy, clientHeight)];
    if ((dx || dy) && !this.isFitted) this.panBy(dx, dy);
  }

  setLight(brightness, contrast) {
    this.brightness = brightness;
    this.contrast = contrast;
    this.redraw();
  }

  toScreen([x, y]) {
    return [(x + 0.5) * this.zoom + this.left, (y + 0.5) * this.zoom + this.top];
  }

  toFrame([x, y]) {
    return [(x - this.left) / this.zoom - 0.5, (y - this.top) / this.zoom - 0.5];
  }

  // Return the nearest position within the frame.
  clamp([x, y]) {
    const limit = (value, size) => Math.min(size - 0.5, Math.max(-0.5, value));
    return [limit(x, this.width), limit(y, this.height)];
  }

  get centre() {
    return this.clamp(this.toFrame([this.host.clientWidth / 2, this.host.clientHeight / 2]));
  }

  redraw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = null;
      this.#draw();
    });
  }

  #draw() {
    const { style } = this.image;
    style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.zoom})`;
    style.filter =
      this.brightness === 1 && this.contrast === 1
        ? ""
        : `brightness(${this.brightness}) contrast(${this.contrast})`;
    style.imageRendering = this.zoom >= PIXELS_FROM ? "pixelated" : "auto";
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.width) this.hooks.draw?.(context, this);
    this.hooks.changed?.();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.host;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.canvas.style.width = `${clientWidth}px`;
    this.canvas.style.height = `${clientHeight}px`;
    if (this.isFitted) this.fit();
    this.redraw();
  }

  #listen() {
    const at = (event) => {
      const box = this.host.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let start = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.width) return;
      const place = at(event);
      const grabbed = event.button === 0 && this.hooks.grab?.(this.toFrame(place), event);
      start = { place, last: place, grabbed, moved: false };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const place = at(event);
      this.hooks.hover?.(this.toFrame(place), event);
      if (!start) return;
      const [dx, dy] = [place[0] - start.place[0], place[1] - start.place[1]];
      start.moved ||= Math.hypot(dx, dy) > CLICK;
      if (!start.moved) return;
      if (start.grabbed) this.hooks.drag?.(this.toFrame(place), event);
      else this.panBy(place[0] - start.last[0], place[1] - start.last[1]);
      start.last = place;
    });
    const end = (event) => {
      if (!start) return;
      if (start.grabbed && start.moved) this.hooks.drop?.();
      else if (!start.moved && event.type === "pointerup")
        this.hooks.click?.(this.toFrame(at(event)), event);
      start = null;
    };
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        // Lines, as some browsers count, are some 16 px.
        const amount = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
        this.zoomBy(Math.exp(-amount / 400), at(event));
      },
      { passive: false },
    );
  }
}
