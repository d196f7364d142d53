// Draw characters and see what networks make of them. The sheet is a grid of SIDE x SIDE values,
// ink 1, as large as Omniglot's drawings; networks see what `seenOf` cuts out of it.
const SIDE = 105, SEEN = 28, PEN = 1.7, WAYS = 5, MOST = 5, QUERY = WAYS;

// What `crop_to_ink(x, 28)` of the package computes: the square around the ink, a tenth free.
function seenOf(grid) {
  let left = SIDE, right = -1, top = SIDE, bottom = -1;
  for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) if (grid[y * SIDE + x] > 0.3) {
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  }
  if (right < 0) [left, right, top, bottom] = [0, SIDE - 1, 0, SIDE - 1];
  const side = Math.max(right + 1 - left, bottom + 1 - top, SIDE / 4) * 1.2;
  const from = [(left + right + 1 - side) / 2, (top + bottom + 1 - side) / 2], fine = side / (2 * SEEN);
  const at = (x, y) => (x >= 0 && y >= 0 && x < SIDE && y < SIDE ? grid[y * SIDE + x] : 0);
  const seen = new Float64Array(SEEN * SEEN);
  for (let j = 0; j < 2 * SEEN; j++) for (let i = 0; i < 2 * SEEN; i++) {
    const x = from[0] + (i + 0.5) * fine - 0.5, y = from[1] + (j + 0.5) * fine - 0.5;
    const x0 = Math.floor(x), y0 = Math.floor(y), u = x - x0, v = y - y0;
    const value = (1 - v) * ((1 - u) * at(x0, y0) + u * at(x0 + 1, y0))
      + v * ((1 - u) * at(x0, y0 + 1) + u * at(x0 + 1, y0 + 1));
    seen[(j >> 1) * SEEN + (i >> 1)] += value / 4;
  }
  return seen;
}

// Adapts networks step by step and reports each; begins anew when other examples come.
function makeLearner(engine, networks, report) {
  let version = 0;
  return function learn(given, examples, labels) {
    version = given;
    const jobs = networks.map(({ network, theta, rate, steps }, index) => ({ network, theta, rate, steps, index, done: 0 }));
    const next = () => {
      const job = jobs.filter((j) => j.done < j.steps).sort((a, b) => a.done - b.done)[0];
      if (given !== version || !job) return;
      job.theta = engine.step(job.network, job.theta, examples, labels, job.rate).theta;
      job.done += 1;
      report({ version: given, index: job.index, done: job.done, theta: job.theta });
      setTimeout(next, 0);
    };
    next();
  };
}

// In a worker made of this very text; where the browser refuses one, on the page's own thread.
function startLearner(engine, networks, report) {
  try {
    const text = `${makeEngine}\n${makeLearner}\nlet learn;
      onmessage = ({ data: [networks, version, examples, labels] }) => {
        if (networks) learn = makeLearner(makeEngine(), networks, (found) => postMessage(found));
        else learn(version, examples, labels);
      };`;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    worker.onmessage = (event) => report(event.data);
    worker.postMessage([networks]);
    return (version, examples, labels) => worker.postMessage([null, version, examples, labels]);
  } catch {
    return makeLearner(engine, networks, report);
  }
}

function startDrawing(root, data) {
  const find = (selector) => root.querySelector(selector), engine = makeEngine();
  const make = (tag, given = {}, ...inner) => {
    const node = Object.assign(document.createElement(tag), given);
    node.append(...inner);
    return node;
  };
  const networks = data.methods.filter((m) => m.network).map((m) => {
    const theta = engine.parameters(m.network.weights);
    return { ...m, theta: m.fresh_head ? engine.withoutHead(m.network, theta) : theta };
  });
  const adapting = networks.filter((m) => m.rate), most = Math.max(...adapting.map((m) => m.steps));
  const slots = Array.from({ length: WAYS + 1 }, () => [blank()]);
  let current = [0, 0], version = 0, stage = most, paths = [], means = null, verdict = "", timer, frame;

  // the origin of a drawing: the character that it was placed as; none once a hand has drawn on it
  function blank() { return { grid: new Float64Array(SIDE * SIDE), origin: null, before: [], seen: null }; }
  const drawing = () => slots[current[0]][current[1]];
  const drawn = ({ grid }) => grid.some((v) => v > 0.3);
  const seen = (d) => { d.seen ??= seenOf(d.grid); return d.seen; };
  const examples = () => slots.slice(0, WAYS).flatMap((list, k) => list.filter(drawn).map((d) => [seen(d), k]));
  const words = (name) => (name === QUERY ? "?" : String(name + 1));
  function isTrue(k) { // whether "?" is known to be this character
    const { origin } = slots[QUERY][0];
    return origin !== null && slots[k].some((d) => d.origin === origin);
  }

  // -- the answers
  function shares(logits, known) {
    return engine.softmax(logits.map((v, k) => (known.has(k) ? v : -Infinity)));
  }
  function nearest(x, given) { // minus the distance to the nearest example of each class
    const best = Array(WAYS).fill(Infinity);
    for (const [z, k] of given) best[k] = Math.min(best[k], Math.sqrt(engine.squared(x, z)));
    return best.map((v) => -v);
  }
  function answersOf(x) {
    const given = examples(), known = new Set(given.map(([, k]) => k)), found = {};
    if (!known.size) return found;
    for (const m of data.methods) {
      if (!m.network) found[m.name] = nearest(x, given);
      else if (!m.rate) {
        const { network, theta } = networks.find((n) => n.name === m.name);
        const vector = engine.features(network, theta, [x])[0];
        means ??= engine.prototypes(engine.features(network, theta, given.map(([z]) => z)), given.map(([, k]) => k), WAYS);
        found[m.name] = shares(means.map((c) => -engine.squared(vector, c)), known);
      } else {
        const index = adapting.findIndex((n) => n.name === m.name), { network, theta } = adapting[index];
        const path = [theta, ...(paths[index] ?? [])], now = path[Math.min(stage, m.steps, path.length - 1)];
        const company = m.company ? companyFor(given) : [];
        found[m.name] = shares(engine.outputs(network, now, [...company, x]).at(-1), known);
      }
    }
    return found;
  }
  function companyFor(given) {
    const choice = find(".company").value;
    if (choice === "examples") return given.map(([z]) => z);
    return choice === "crowd" ? given.filter(([, k]) => k === given[0][1]).flatMap(([z]) => Array(8).fill(z)) : [];
  }
  function answer() {
    const query = slots[QUERY][0], ready = drawn(query) && examples().length > 0;
    root.answers = ready ? answersOf(seen(query)) : {};
    const spoken = [], known = ready ? Array.from({ length: WAYS }, (_, k) => isTrue(k)) : [];
    find(".known").hidden = !known.includes(true);
    [...find("thead tr").cells].slice(1).forEach((cell, k) => { cell.textContent = known[k] ? `${words(k)} ✓` : words(k); });
    [...find("tbody").rows].forEach((row, r) => {
      const { name, colour, network } = data.methods[r], got = root.answers[name], best = got ? got.indexOf(Math.max(...got)) : -1;
      [...row.cells].slice(1).forEach((cell, k) => {
        cell.className = `${k === best ? "most" : ""} ${known[k] ? "true" : ""}`;
        const given = got && Number.isFinite(got[k]) ? got[k] : null, bar = make("span", { className: "bar" });
        const length = given === null ? 0 : network ? given : got[best] / given; // of the longest
        bar.style.cssText = `width:${Math.round(100 * length)}%;background:${colour}`;
        cell.replaceChildren(given === null ? "–" : network ? `${Math.round(100 * given)} %` : (-given).toFixed(1), bar);
      });
      if (got) spoken.push(`${name}: ${words(best)}`);
    });
    const truth = known.includes(true) ? `It is ${words(known.indexOf(true))}. ` : "";
    tell(ready ? `${truth}${spoken.join(", ")}.` : "Draw characters under 1 to 5, then one of them again under “?”.");
  }
  function tell(text) { // what is out of date goes at once; what stands still is read out
    const line = find(".feedback");
    if (text === verdict) return;
    if (line.textContent === verdict) line.textContent = "";
    verdict = text;
    clearTimeout(timer);
    timer = setTimeout(() => { line.textContent = verdict; }, 400);
  }
  const answerSoon = () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(answer); };

  // -- learning
  const learn = startLearner(engine, adapting, ({ version: of, index, done, theta }) => {
    if (of !== version) return;
    (paths[index] ??= [])[done - 1] = theta;
    answerSoon();
  });
  function examplesChanged() {
    version += 1;
    [paths, means] = [[], null];
    const given = examples();
    if (given.length) learn(version, given.map(([x]) => x), given.map(([, k]) => k));
    answerSoon();
  }

  // -- drawing
  function stroke(from, to) { // ink within PEN of the segment
    const { grid } = drawing(), [dx, dy] = [to[0] - from[0], to[1] - from[1]], length = dx * dx + dy * dy || 1;
    const range = (a, b) => [Math.max(0, Math.floor(Math.min(a, b) - PEN)), Math.min(SIDE - 1, Math.ceil(Math.max(a, b) + PEN))];
    const [left, right] = range(from[0], to[0]), [top, bottom] = range(from[1], to[1]);
    for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) {
      const t = Math.min(1, Math.max(0, ((x + 0.5 - from[0]) * dx + (y + 0.5 - from[1]) * dy) / length));
      const away = Math.hypot(x + 0.5 - from[0] - t * dx, y + 0.5 - from[1] - t * dy);
      if (away <= PEN) grid[y * SIDE + x] = 1;
    }
    changed();
  }
  function keep() { // what undo goes back to; then a hand draws
    const { grid, origin, before } = drawing();
    before.push({ grid: grid.slice(), origin });
    drawing().origin = null;
  }
  function changed() {
    drawing().seen = null;
    if (current[0] === QUERY) answerSoon();
    else examplesChanged();
    show();
  }
  function place(slot, index, grid, origin = null) { // a whole drawing at once
    slots[slot][index] = { ...blank(), grid: Float64Array.from(grid), origin };
  }

  // -- what is seen
  function paint(canvas, values, side) {
    const context = canvas.getContext("2d"), small = make("canvas", { width: side, height: side });
    const image = small.getContext("2d").createImageData(side, side);
    values.forEach((v, i) => { image.data.set([0, 0, 0, 255 * Math.min(1, v)], 4 * i); });
    small.getContext("2d").putImageData(image, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }
  const pad = find(".pad");
  let cursor = [SIDE / 2, SIDE / 2], down = false, byKeys = false;
  function show() {
    paint(pad, drawing().grid, SIDE);
    paint(find(".seen"), seen(drawing()), SEEN);
    const name = words(current[0]);
    pad.setAttribute("aria-label", `Sheet for ${name}, drawing ${current[1] + 1}. Arrow keys move the pen, space puts it ${down ? "up" : "down"}.`);
    find(".seen").setAttribute("aria-label", `Drawing ${current[1] + 1} of ${name}, as the networks see it`);
    if (byKeys) {
      const context = pad.getContext("2d"), scale = pad.width / SIDE;
      context.strokeStyle = down ? "#d55e00" : "#0072b2";
      context.lineWidth = 4;
      context.beginPath();
      context.arc(cursor[0] * scale, cursor[1] * scale, 10, 0, 7);
      context.stroke();
    }
    const chosen = find(`.slots [data-place="${current}"] canvas`);
    if (chosen) paint(chosen, seen(drawing()), SEEN);
  }
  function choose(slot, index) {
    [current, down] = [[slot, index], false];
    showSlots();
    show();
  }
  function showSlots() {
    find(".slots").replaceChildren(...slots.map((list, slot) => {
      const buttons = list.map((d, index) => {
        const here = slot === current[0] && index === current[1], canvas = make("canvas", { width: SEEN, height: SEEN });
        if (drawn(d)) paint(canvas, seen(d), SEEN);
        const button = make("button", { type: "button", onclick: () => { choose(slot, index); find(`.slots [data-place="${current}"]`).focus(); } }, canvas);
        button.dataset.place = [slot, index];
        button.setAttribute("aria-label", slot === QUERY ? "The drawing to recognise" : `Character ${slot + 1}, drawing ${index + 1}`);
        button.setAttribute("aria-pressed", here);
        return button;
      });
      const more = make("button", { type: "button", className: "more", textContent: "+", onclick: () => { list.push(blank()); choose(slot, list.length - 1); pad.focus(); } });
      more.setAttribute("aria-label", `Another drawing of character ${slot + 1}`);
      const full = slot === QUERY || list.length === MOST || !drawn(list.at(-1));
      return make("div", { className: "slot" }, make("strong", { textContent: words(slot) }), ...buttons, ...(full ? [] : [more]));
    }));
  }
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
  };
  let last = null;
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    [byKeys, last] = [false, at(event)];
    keep();
    stroke(last, last);
    event.preventDefault();
    pad.focus({ preventScroll: true });
  });
  pad.addEventListener("pointermove", (event) => {
    if (!last) return;
    for (const e of event.getCoalescedEvents?.() ?? [event]) { const to = at(e); stroke(last, to); last = to; }
  });
  for (const kind of ["pointerup", "pointercancel"]) pad.addEventListener(kind, () => { last = null; showSlots(); });
  pad.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === " ") {
      [byKeys, down] = [true, !down];
      if (down) { keep(); stroke(cursor, cursor); } else showSlots();
      find(".feedback").textContent = down ? "Pen down" : "Pen up";
      verdict = ""; // is told again
      answerSoon();
    } else if (ways[event.key]) {
      byKeys = true;
      const step = event.shiftKey ? 12 : 4, inside = (v) => Math.min(SIDE - 2, Math.max(2, v));
      const to = ways[event.key].map((w, axis) => inside(cursor[axis] + step * w));
      if (down) stroke(cursor, to);
      cursor = to;
    } else return;
    event.preventDefault();
    show();
  });
  pad.addEventListener("blur", () => { [byKeys, down] = [false, false]; show(); });
  find(".undo").addEventListener("click", () => {
    const before = drawing().before.pop();
    if (before) { Object.assign(drawing(), before); changed(); showSlots(); }
  });
  find(".clear").addEventListener("click", () => { keep(); drawing().grid = blank().grid; changed(); showSlots(); });
  find(".clear-all").addEventListener("click", () => {
    slots.forEach((list) => list.splice(0, list.length, blank()));
    examplesChanged();
    choose(0, 0);
  });

  // -- drawings to place
  const script = find(".script");
  const unpacked = (text) => { // the bits of a drawing
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return Float64Array.from({ length: SIDE * SIDE }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
  };
  let taken = {};
  function take(character) { // its drawings one after the other
    const list = data.tray[script.value][character];
    taken[character] = ((taken[character] ?? -1) + 1) % list.length;
    return [unpacked(list[taken[character]]), `${script.value} ${character}`];
  }
  function showTray() {
    taken = {};
    find(".tray").replaceChildren(...data.tray[script.value].map((list, character) => {
      const canvas = make("canvas", { width: SEEN, height: SEEN });
      paint(canvas, seenOf(unpacked(list[0])), SEEN);
      const button = make("button", { type: "button", onclick: () => {
        place(...current, ...take(character));
        changed();
        showSlots();
      } }, canvas);
      button.setAttribute("aria-label", `Place a drawing of character ${character + 1} of ${script.value}`);
      return button;
    }));
  }
  let turn = 0;
  function fill() { // other characters each time, and no chance in it
    const count = data.tray[script.value].length, first = turn * 2, ask = (turn * 3 + 1) % WAYS;
    turn += 1;
    for (let k = 0; k < WAYS; k++) { slots[k].splice(0, MOST, blank()); place(k, 0, ...take((first + k) % count)); }
    place(QUERY, 0, ...take((first + ask) % count));
    examplesChanged();
    choose(QUERY, 0);
  }
  script.append(...Object.keys(data.tray).map((name) => make("option", { textContent: name })));
  script.addEventListener("change", showTray);
  find(".fill").addEventListener("click", fill);

  // -- the table, the steps, the company
  find("thead tr").append(...Array.from({ length: WAYS }, (_, k) => make("th", { textContent: words(k), scope: "col" })));
  find("tbody").append(...data.methods.map(({ name }) => {
    const row = make("tr", {}, make("th", { textContent: name, scope: "row" }));
    row.append(...Array.from({ length: WAYS }, () => make("td")));
    return row;
  }));
  const steps = find(".steps");
  Object.assign(steps, { max: most, value: most });
  steps.addEventListener("input", () => { stage = Number(steps.value); find(".count").textContent = stage; answerSoon(); });
  find(".count").textContent = stage;
  find(".company").append(
    make("option", { value: "alone", textContent: "alone" }),
    make("option", { value: "examples", textContent: "with the examples" }),
    make("option", { value: "crowd", textContent: "in a crowd of one character" }),
  );
  find(".company").addEventListener("change", answerSoon);
  find(".content").hidden = false;
  root.page = { // what a test drives
    place: (slot, index, grid) => { while (slots[slot].length <= index) slots[slot].push(blank()); place(slot, index, grid); },
    settle: () => { examplesChanged(); choose(QUERY, 0); },
    learned: () => paths.length === adapting.length && adapting.every((m, i) => (paths[i] ?? []).filter(Boolean).length === m.steps),
    seen: (grid) => [...seenOf(grid)],
    ink: () => drawing().grid.filter((v) => v > 0).length,
    answer: () => { cancelAnimationFrame(frame); answer(); return root.answers; },
  };
  showTray();
  fill();
}
