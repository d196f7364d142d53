// A small figure in SVG: axes, curves, arrows, dots, words, and points that the reader moves.
//
//   const plot = figure(root.querySelector(".figure"), {
//     x: [-3, 3], y: [0, 5],                  // what is shown
//     xlabel: "parameter θ", ylabel: "loss",
//     xticks: [-2, 0, 2],                     // numbers, or [number, "text"]; [] for none; round ones if left out
//     height: 240,                            // of 400 units in width; or equal: true, for x and y of one scale
//     name: "what the picture shows",         // for those who do not see it
//   });
//   plot.clear();                             // everything but axes, shade and handles
//   plot.line([[x, y], ...], { colour, width, dash, opacity });
//   plot.area([[x, y], ...], { colour, opacity });            // what these points enclose
//   plot.dot([x, y], { colour, size, kind, opacity });        // kind: "hollow", "cross" or none
//   plot.arrow([x, y], [x, y], { colour, width, opacity });
//   plot.text([x, y], "words", { anchor, shift });            // anchor: "start", "middle", "end"; shift: [right, down]
//   plot.shade((x, y) => height);             // under all, clear where the height is 0, grey where it is 1
//   const point = plot.handle({
//     at: [x, y], name: "start", colour,      // the name is what a screen reader says
//     step: [0.1, 0.1],                       // of an arrow key, ten times as much with Shift; 0 if it cannot go that way
//     keep: ([x, y]) => [x, y],               // the nearest place where it may be; within the axes if left out
//     tell: ([x, y]) => "θ = 1.2",            // its value in words
//     move: ([x, y]) => {},                   // called when the reader has moved it
//   });
//   point.at; point.put([x, y]);              // where it is; put it there without calling `move`
//   point.show(false);                        // take it away for a while
//
// Mouse, finger and pen drag a handle; with the keyboard it is a slider of its own. Colours are for
// light and dark ground alike: black, or none, is the ink of the page.
const FIGURE_STYLE = `
.moving div.figure { margin: 0; padding: 0; text-align: inherit; }
.moving .figure svg { display: block; width: 100%; max-width: 600px; height: auto; font: 12px sans-serif; }
.moving g.handle { cursor: grab; touch-action: none; }
.moving g.handle:active { cursor: grabbing; }
.moving g.handle:focus-visible { outline: none; }
.moving .handle .ring { fill: none; stroke: none; stroke-width: 2.5; }
.moving .handle:focus-visible .ring { stroke: currentColor; }`;

function figure(holder, options) {
  const width = 400, [left, right] = options.x, [low, high] = options.y;
  const pad = { left: options.ylabel ? 44 : options.yticks?.length === 0 ? 10 : 32, right: 10, top: 10 };
  pad.bottom = options.xlabel ? 40 : options.xticks?.length === 0 ? 10 : 24;
  const wide = width - pad.left - pad.right;
  const tall = options.equal ? wide * (high - low) / (right - left) : (options.height || 240) - pad.top - pad.bottom;
  const across = (x) => wide * (x - left) / (right - left), down = (y) => tall * (high - y) / (high - low);
  const ink = (colour) => !colour || colour === "#000000" ? "currentColor" : colour;
  const short = (value) => Number(value.toFixed(2));

  function make(kind, attributes, parent, words) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes))
      if (value !== undefined) node.setAttribute(name, value);
    if (words !== undefined) node.textContent = words;
    parent.append(node);
    return node;
  }
  const svg = make("svg", { viewBox: `0 0 ${width} ${tall + pad.top + pad.bottom}`, role: "group",
    "aria-label": options.name }, holder);
  make("style", {}, svg, FIGURE_STYLE);
  const hidden = { "aria-hidden": "true" }, shift = `translate(${pad.left} ${pad.top})`;
  const axes = make("g", { transform: shift, stroke: "currentColor", fill: "none", ...hidden }, svg);
  const area = make("svg", { x: pad.left, y: pad.top, width: wide, height: tall, ...hidden }, svg);
  const ground = make("g", {}, area), marks = make("g", {}, area);
  const words = { fill: "currentColor", stroke: "none", "text-anchor": "middle" };

  function ticks(given, from, to) {
    const unit = 10 ** Math.floor(Math.log10((to - from) / 2));
    const gap = [1, 2, 5, 10].map((many) => many * unit).find((size) => (to - from) / size <= 6);
    const round = () => Array.from({ length: Math.floor(to / gap) - Math.ceil(from / gap) + 1 },
      (_, index) => (Math.ceil(from / gap) + index) * gap);
    return (given || round()).map((tick) => [tick].flat())
      .map(([value, text]) => [value, text ?? String(Number(value.toPrecision(6))).replace("-", "−")]);
  }
  if (options.xticks?.length !== 0 || options.yticks?.length !== 0) make("path", { d: `M0,0V${tall}H${wide}` }, axes);
  for (const [value, text] of ticks(options.xticks, left, right)) {
    make("path", { d: `M${across(value)},${tall}v4` }, axes);
    make("text", { x: across(value), y: tall + 16, ...words }, axes, text);
  }
  for (const [value, text] of ticks(options.yticks, low, high)) {
    make("path", { d: `M0,${down(value)}h-4` }, axes);
    make("text", { x: -7, y: down(value) + 4, ...words, "text-anchor": "end" }, axes, text);
  }
  if (options.xlabel) make("text", { x: wide / 2, y: tall + 34, ...words }, axes, options.xlabel);
  const aside = { transform: `translate(-32 ${tall / 2}) rotate(-90)`, ...words };
  if (options.ylabel) make("text", aside, axes, options.ylabel);

  const path = (points) =>
    points.map(([x, y], index) => `${index ? "L" : "M"}${short(across(x))},${short(down(y))}`).join("");
  const plot = {
    clear: () => marks.replaceChildren(),
    line: (points, { colour, width = 2, dash, opacity } = {}) => make("path", { d: path(points), fill: "none",
      stroke: ink(colour), "stroke-width": width, "stroke-dasharray": dash, opacity, "stroke-linejoin": "round" }, marks),
    area: (points, { colour, opacity } = {}) =>
      make("path", { d: path(points) + "Z", fill: ink(colour), opacity }, marks),
    dot([x, y], { colour, size = 4, kind, opacity } = {}) {
      const look = { fill: kind ? "none" : ink(colour), stroke: ink(colour), "stroke-width": 2, opacity };
      if (kind === "cross") return make("path", { ...look,
        d: `M${across(x) - size},${down(y) - size}l${2 * size},${2 * size}m0,${-2 * size}l${-2 * size},${2 * size}` }, marks);
      return make("circle", { cx: across(x), cy: down(y), r: size, ...look }, marks);
    },
    arrow([x, y], [x2, y2], { colour, width = 2, opacity } = {}) {
      const from = [across(x), down(y)], to = [across(x2), down(y2)];
      const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1, tip = Math.min(4 + 2 * width, length);
      const [u, v] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
      const neck = [to[0] - tip * u, to[1] - tip * v], half = tip / 2;
      const look = { stroke: ink(colour), fill: ink(colour), opacity };
      make("path", { d: `M${from}L${neck}`, "stroke-width": width, ...look }, marks);
      const sides = [1, -1].map((side) => [neck[0] - side * half * v, neck[1] + side * half * u]);
      make("path", { d: `M${to}L${sides[0]}L${sides[1]}Z`, ...look }, marks);
    },
    text: ([x, y], text, { anchor = "start", shift = [0, 0] } = {}) => make("text",
      { x: across(x) + shift[0], y: down(y) + shift[1], ...words, "text-anchor": anchor }, marks, text),
    shade(height) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [wide, tall].map((size) => 2 * Math.round(size));
      const brush = canvas.getContext("2d"), picture = brush.createImageData(canvas.width, canvas.height);
      for (let row = 0, at = 0; row < canvas.height; row++)
        for (let column = 0; column < canvas.width; column++, at += 4) {
          const x = left + (right - left) * (column + 0.5) / canvas.width;
          const y = high - (high - low) * (row + 0.5) / canvas.height;
          picture.data.set([128, 128, 128, 255 * Math.max(0, Math.min(1, height(x, y)))], at);
        }
      brush.putImageData(picture, 0, 0);
      ground.replaceChildren();
      make("image", { href: canvas.toDataURL(), width: wide, height: tall, preserveAspectRatio: "none" }, ground);
    },
    handle,
  };

  function handle({ at, name, colour, step, keep, tell = String, move = () => {} }) {
    const clamp = ([x, y]) => [Math.max(left, Math.min(right, x)), Math.max(low, Math.min(high, y))];
    const along = step[0] ? 0 : 1, range = along ? [low, high] : [left, right];
    const node = make("g", { class: "handle", tabindex: 0, role: "slider", "aria-label": name,
      "aria-orientation": along ? "vertical" : "horizontal", "aria-valuemin": range[0], "aria-valuemax": range[1] }, svg);
    make("circle", { r: 22, fill: "transparent" }, node);
    make("circle", { class: "ring", r: 15 }, node);
    make("circle", { r: 12, fill: ink(colour), opacity: 0.25 }, node);
    make("circle", { r: 6, fill: ink(colour), stroke: "currentColor" }, node);
    const point = {
      put(place) {
        point.at = (keep || clamp)(place);
        node.setAttribute("transform", `translate(${pad.left + across(point.at[0])} ${pad.top + down(point.at[1])})`);
        node.setAttribute("aria-valuenow", short(point.at[along]));
        node.setAttribute("aria-valuetext", tell(point.at));
      },
      show: (there) => { node.style.display = there ? "" : "none"; },
    };
    const go = (place) => { point.put(place); move(point.at); };
    const under = (event) => {
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      return [left + (x - pad.left) * (right - left) / wide, high - (y - pad.top) * (high - low) / tall];
    };
    let grip = null; // from where the pointer took hold to the middle of the point
    node.addEventListener("pointerdown", (event) => {
      const place = under(event);
      grip = [point.at[0] - place[0], point.at[1] - place[1]];
      node.setPointerCapture(event.pointerId);
      node.focus({ focusVisible: false });
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (grip) go(under(event).map((value, axis) => value + grip[axis]));
    });
    for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => { grip = null; });
    node.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const end = { Home: 0, End: 1 }[event.key], many = event.shiftKey ? 10 : 1;
      if ((!way && end === undefined) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (!way) return go([[left, right][end], [low, high][end]].map((edge, axis) => step[axis] ? edge : point.at[axis]));
      const either = way[0] + way[1]; // what can go only one way goes there by both pairs of keys
      go(point.at.map((value, axis) => value + many * step[axis] * (step[1 - axis] ? way[axis] : either)));
    });
    point.put(at);
    return point;
  }
  return plot;
}
