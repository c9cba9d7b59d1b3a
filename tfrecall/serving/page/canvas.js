// Drawing of the map: points in a plane on a canvas, with zoom, drag, hover and keys.

const MARGIN = 26;
const REACH = 16;
const LABELS = 26;

/**
 * A map on a canvas.
 *
 * points: `{x, y, group, id, title}` with places from 0 to 1, the most popular first. select: called with the point
 * that was clicked or reached by keys. open: called with the selected point on Enter.
 */
export class Plane {
  constructor(canvas, points, { select, open, hover }) {
    Object.assign(this, { canvas, points, select, open, hover });
    this.byId = new Map(points.map((point) => [point.id, point]));
    this.marks = { selected: null, neighbours: [], history: new Set(), answer: new Set(), group: null };
    this.reset();
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.listen();
  }

  reset() {
    Object.assign(this, { zoom: 1, left: 0, top: 0 });
    this.draw();
  }

  /** Take the size of the element, in pixels of the screen. */
  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    Object.assign(this, { width, height, ratio });
    this.draw();
  }

  place(point) {
    return [
      MARGIN + (point.x - this.left) * this.zoom * (this.width - 2 * MARGIN),
      MARGIN + (point.y - this.top) * this.zoom * (this.height - 2 * MARGIN),
    ];
  }

  /** Zoom by a factor, with the point of the screen under `x`, `y` kept in its place. */
  scale(factor, x = this.width / 2, y = this.height / 2) {
    const zoom = Math.min(40, Math.max(1, this.zoom * factor));
    const across = (x - MARGIN) / (this.width - 2 * MARGIN);
    const down = (y - MARGIN) / (this.height - 2 * MARGIN);
    this.left += across / this.zoom - across / zoom;
    this.top += down / this.zoom - down / zoom;
    this.zoom = zoom;
    this.keep();
  }

  /** Keep the map in sight: it never leaves its frame. */
  keep() {
    const most = 1 - 1 / this.zoom;
    this.left = Math.min(most, Math.max(0, this.left));
    this.top = Math.min(most, Math.max(0, this.top));
    this.draw();
  }

  /** Bring a point to the middle, so near that its neighbours come apart. */
  jump(id) {
    const point = this.byId.get(id);
    if (!point) return false;
    this.zoom = Math.max(this.zoom, 4);
    this.left = point.x - 0.5 / this.zoom;
    this.top = point.y - 0.5 / this.zoom;
    this.keep();
    return true;
  }

  mark(changes) {
    Object.assign(this.marks, changes);
    this.draw();
  }

  nearest(x, y, reach = REACH) {
    let best = null;
    let least = reach ** 2;
    for (const point of this.points) {
      const [px, py] = this.place(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  /** The nearest point within 45 degrees of a direction, from the selected one or from the middle. */
  towards(dx, dy) {
    const from = this.byId.get(this.marks.selected);
    const [x, y] = from ? this.place(from) : [this.width / 2, this.height / 2];
    let best = null;
    let least = Infinity;
    for (const point of this.points) {
      const [px, py] = this.place(point);
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy - (py - y) * dx);
      const distance = along + 2 * aside;
      if (point !== from && along > 0.5 && aside <= along && distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  listen() {
    const { canvas } = this;
    let drag = null;
    const at = (event) => [event.offsetX, event.offsetY];
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.offsetX, y: event.offsetY, left: this.left, top: this.top, far: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (!drag) return this.hover(this.nearest(x, y), x, y);
      drag.far ||= Math.hypot(x - drag.x, y - drag.y) > 4;
      this.left = drag.left - (x - drag.x) / this.zoom / (this.width - 2 * MARGIN);
      this.top = drag.top - (y - drag.y) / this.zoom / (this.height - 2 * MARGIN);
      return this.keep();
    });
    canvas.addEventListener("pointerup", (event) => {
      const found = drag && !drag.far ? this.nearest(...at(event), 22) : null;
      drag = null;
      if (found) this.select(found);
    });
    canvas.addEventListener("pointerleave", () => { drag = null; this.hover(null); });
    canvas.addEventListener("dblclick", (event) => this.scale(2, ...at(event)));
    canvas.addEventListener("wheel", (event) => {
      // Only where the map has the focus: otherwise the wheel scrolls the page.
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.scale(event.deltaY < 0 ? 1.25 : 0.8, ...at(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const found = this.towards(...step);
      if (found) this.select(found);
    } else if (event.key === "+" || event.key === "=") this.scale(1.5);
    else if (event.key === "-") this.scale(1 / 1.5);
    else if (event.key === "0") this.reset();
    else if (event.key === "Enter" && this.marks.selected) this.open(this.marks.selected);
    else return;
    event.preventDefault();
  }

  /** A colour of the page as a canvas takes it: of the light or the dark screen. */
  colour(name) {
    this.canvas.style.color = `var(--${name})`;
    return getComputedStyle(this.canvas).color;
  }

  /** Draw once, before the next frame, however many changes ask for it. */
  draw() {
    if (this.planned || !this.width) return;
    this.planned = requestAnimationFrame(() => { this.planned = null; this.paint(); });
  }

  paint() {
    const pen = this.canvas.getContext("2d");
    const colour = (name) => this.colour(name);
    const { marks } = this;
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const colours = Array.from({ length: 8 }, (_, i) => colour(`c${i}`));
    const size = Math.min(6, 2.6 + Math.log2(this.zoom));
    // The least popular first, so that the popular ones lie on top.
    for (let i = this.points.length - 1; i >= 0; i -= 1) {
      const point = this.points[i];
      const [x, y] = this.place(point);
      if (x < -9 || y < -9 || x > this.width + 9 || y > this.height + 9) continue;
      pen.globalAlpha = marks.group === null || marks.group === point.group ? 0.75 : 0.1;
      dot(pen, x, y, size, colours[point.group % 8]);
    }
    pen.globalAlpha = 1;
    this.paintMarks(pen, colour, size);
    this.paintLabels(pen, colour);
  }

  paintMarks(pen, colour, size) {
    const { selected, neighbours, history, answer } = this.marks;
    const ring = (id, radius, stroke, width) => {
      const point = this.byId.get(id);
      if (!point) return;
      const [x, y] = this.place(point);
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      Object.assign(pen, { strokeStyle: stroke, lineWidth: width });
      pen.stroke();
    };
    const from = this.byId.get(selected);
    for (const id of neighbours) {
      const to = this.byId.get(id);
      if (!from || !to) continue;
      pen.beginPath();
      pen.moveTo(...this.place(from));
      pen.lineTo(...this.place(to));
      Object.assign(pen, { strokeStyle: colour("soft"), lineWidth: 1 });
      pen.stroke();
    }
    history.forEach((id) => ring(id, size + 3, colour("text"), 1.5));
    answer.forEach((id) => ring(id, size + 4, colour("accent"), 3));
    neighbours.forEach((id) => ring(id, size + 2, colour("soft"), 1.5));
    ring(selected, size + 5, colour("text"), 3);
  }

  /** Titles of the selected item, its neighbours and popular ones, none over another. */
  paintLabels(pen, colour) {
    const { selected, neighbours, answer } = this.marks;
    const first = [selected, ...neighbours, ...answer].map((id) => this.byId.get(id)).filter(Boolean);
    const boxes = [];
    pen.font = "12px system-ui, sans-serif";
    for (const point of new Set([...first, ...this.points])) {
      if (boxes.length >= LABELS) break;
      const [x, y] = this.place(point);
      if (x < 0 || y < 0 || x > this.width || y > this.height) continue;
      const text = point.title.length > 28 ? `${point.title.slice(0, 27)}…` : point.title;
      const width = pen.measureText(text).width;
      const left = x + 9 + width > this.width ? x - 9 - width : x + 9;
      const box = [left - 2, y - 9, left + width + 2, y + 7];
      if (left < 0 || boxes.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) continue;
      boxes.push(box);
      pen.lineWidth = 3;
      pen.strokeStyle = colour("box");
      pen.strokeText(text, left, y + 4);
      pen.fillStyle = colour("text");
      pen.fillText(text, left, y + 4);
    }
  }
}

function dot(pen, x, y, radius, colour) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fillStyle = colour;
  pen.fill();
}
