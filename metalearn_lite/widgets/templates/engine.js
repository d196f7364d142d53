// Small networks, forward and backward, in double precision: what the page needs to learn.
// `makeEngine()` stands alone, so that its text can be handed to a worker.
//
// A network is { layers, at, ... } as `page_network` in Python describes it; its parameters are
// one Float64Array, in the order of torch. What runs through it is a matrix with a row for each
// channel (and, in it, for each image its pixels): { data, rows, n, h, w }.
function makeEngine() {
  const zeros = (length) => new Float64Array(length);

  // C (m x n) += A (m x k) B (k x n), four rows of B at a time
  function addProduct(c, a, b, m, k, n) {
    for (let i = 0; i < m; i++) {
      const to = i * n;
      let j = 0;
      for (; j + 4 <= k; j += 4) {
        const p = a[i * k + j], q = a[i * k + j + 1], r = a[i * k + j + 2], s = a[i * k + j + 3];
        const b0 = j * n, b1 = b0 + n, b2 = b1 + n, b3 = b2 + n;
        for (let x = 0; x < n; x++) {
          c[to + x] += p * b[b0 + x] + q * b[b1 + x] + r * b[b2 + x] + s * b[b3 + x];
        }
      }
      for (; j < k; j++) {
        const p = a[i * k + j];
        for (let x = 0; x < n; x++) c[to + x] += p * b[j * n + x];
      }
    }
    return c;
  }

  // A (m x n) times B (k x n) transposed: (m x k)
  function productWithTransposed(a, b, m, n, k) {
    const c = zeros(m * k);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < k; j++) {
        let sum = 0;
        for (let x = 0; x < n; x++) sum += a[i * n + x] * b[j * n + x];
        c[i * k + j] = sum;
      }
    }
    return c;
  }

  function transposed(a, m, n) {
    const t = zeros(m * n);
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) t[j * m + i] = a[i * n + j];
    return t;
  }

  const like = (x, data) => ({ ...x, data });
  const columns = (x) => x.n * x.h * x.w;

  // y = W x + b, for each column; adds the gradients of W and b to `grad`
  function affine(layer, theta, x, width) {
    const { out, into, at, bias } = layer, weights = theta.subarray(at, at + out * into);
    const y = zeros(out * width);
    if (bias) for (let o = 0; o < out; o++) y.fill(theta[at + out * into + o], o * width, (o + 1) * width);
    addProduct(y, weights, x, out, into, width);
    const back = (dy, grad) => {
      const dw = productWithTransposed(dy, x, out, width, into);
      for (let i = 0; i < dw.length; i++) grad[at + i] += dw[i];
      for (let o = 0; bias && o < out; o++) {
        for (let p = 0; p < width; p++) grad[at + out * into + o] += dy[o * width + p];
      }
      return addProduct(zeros(into * width), transposed(weights, out, into), dy, into, out, width);
    };
    return [y, back];
  }

  // copies an image's pixels to the places in the patches where the kernel meets them, or, with
  // `back`, adds the patches up to an image
  function patch({ kernel, stride, padding }, x, h, w, patches, image, back) {
    const all = x.n * h * w;
    for (let c = 0, row = 0; c < x.rows; c++) {
      for (let ky = 0; ky < kernel; ky++) for (let kx = 0; kx < kernel; kx++, row++) {
        const first = Math.max(0, Math.ceil((padding - kx) / stride));
        const end = Math.min(w, Math.floor((x.w - 1 + padding - kx) / stride) + 1);
        for (let i = 0; i < x.n; i++) for (let oy = 0; oy < h; oy++) {
          const y = oy * stride + ky - padding;
          if (y < 0 || y >= x.h) continue;
          const from = ((c * x.n + i) * x.h + y) * x.w + kx - padding, to = row * all + (i * h + oy) * w;
          if (back) for (let ox = first; ox < end; ox++) image[from + ox * stride] += patches[to + ox];
          else for (let ox = first; ox < end; ox++) patches[to + ox] = image[from + ox * stride];
        }
      }
    }
  }

  const layers = {
    conv(layer, theta, x) {
      const size = (side) => Math.floor((side + 2 * layer.padding - layer.kernel) / layer.stride) + 1;
      const h = size(x.h), w = size(x.w), width = x.n * h * w;
      const patches = zeros(layer.into * width);
      patch(layer, x, h, w, patches, x.data, false);
      const [y, backward] = affine(layer, theta, patches, width);
      const back = (dy, grad) => {
        const dp = backward(dy, grad), dx = zeros(x.data.length);
        patch(layer, x, h, w, dp, dx, true);
        return dx;
      };
      return [{ data: y, rows: layer.out, n: x.n, h, w }, back];
    },
    linear(layer, theta, x) {
      const [y, back] = affine(layer, theta, x.data, columns(x));
      return [{ ...x, data: y, rows: layer.out }, back];
    },
    relu(_, __, x) {
      const y = x.data.slice();
      for (let p = 0; p < y.length; p++) if (!(y[p] > 0)) y[p] = 0;
      const back = (dy) => {
        const dx = dy.slice();
        for (let p = 0; p < dx.length; p++) if (!(x.data[p] > 0)) dx[p] = 0;
        return dx;
      };
      return [like(x, y), back];
    },
    // by the statistics of the batch (groups 0), of each image's groups of channels, or fixed ones
    norm(layer, theta, x) {
      const { groups, at, eps, mean, variance } = layer, { rows, n } = x, pixels = x.h * x.w;
      const normed = zeros(x.data.length), y = zeros(x.data.length), parts = [];
      const channels = groups ? rows / groups : 1, images = groups || mean ? 1 : n;
      for (let c = 0; c < rows; c += channels) for (let i = 0; i < n; i += images) {
        const places = [];
        for (let d = c; d < c + channels; d++) places.push([d, (d * n + i) * pixels, images * pixels]);
        let m = 0, v = 0;
        const count = channels * images * pixels;
        if (mean) [m, v] = [mean[c], variance[c]];
        else {
          for (const [, from, size] of places) for (let p = from; p < from + size; p++) m += x.data[p] / count;
          for (const [, from, size] of places) for (let p = from; p < from + size; p++) v += (x.data[p] - m) ** 2 / count;
        }
        const scale = 1 / Math.sqrt(v + eps);
        for (const [d, from, size] of places) for (let p = from; p < from + size; p++) {
          normed[p] = (x.data[p] - m) * scale;
          y[p] = normed[p] * theta[at + d] + theta[at + rows + d];
        }
        parts.push({ places, scale, count });
      }
      const back = (dy, grad) => {
        const dx = zeros(dy.length);
        for (const { places, scale, count } of parts) {
          let first = 0, second = 0;
          for (const [d, from, size] of places) for (let p = from; p < from + size; p++) {
            grad[at + d] += dy[p] * normed[p];
            grad[at + rows + d] += dy[p];
            first += dy[p] * theta[at + d] / count;
            second += dy[p] * theta[at + d] * normed[p] / count;
          }
          if (mean) first = second = 0; // fixed statistics do not move with what they normalise
          for (const [d, from, size] of places) for (let p = from; p < from + size; p++) {
            dx[p] = scale * (dy[p] * theta[at + d] - first - normed[p] * second);
          }
        }
        return dx;
      };
      return [like(x, y), back];
    },
    maxpool({ size }, _, x) {
      const h = Math.floor(x.h / size), w = Math.floor(x.w / size), y = zeros(x.rows * x.n * h * w);
      const chosen = new Int32Array(y.length);
      for (let r = 0, to = 0; r < x.rows * x.n; r++) for (let oy = 0; oy < h; oy++) for (let ox = 0; ox < w; ox++, to++) {
        let best = (r * x.h + oy * size) * x.w + ox * size;
        for (let dy = 0; dy < size; dy++) for (let dx = 0; dx < size; dx++) {
          const p = (r * x.h + oy * size + dy) * x.w + ox * size + dx;
          if (x.data[p] > x.data[best]) best = p;
        }
        [chosen[to], y[to]] = [best, x.data[best]];
      }
      const back = (dy) => {
        const dx = zeros(x.data.length);
        dy.forEach((d, to) => { dx[chosen[to]] += d; });
        return dx;
      };
      return [{ ...x, data: y, h, w }, back];
    },
    mean(_, __, x) {
      const pixels = x.h * x.w, y = zeros(x.rows * x.n);
      for (let p = 0; p < x.data.length; p++) y[Math.floor(p / pixels)] += x.data[p] / pixels;
      const back = (dy) => zeros(x.data.length).map((_, p) => dy[Math.floor(p / pixels)] / pixels);
      return [{ ...x, data: y, h: 1, w: 1 }, back];
    },
    // (channel; image, pixel) becomes (channel, pixel; image)
    flatten(_, __, x) {
      const pixels = x.h * x.w, { rows, n } = x, y = zeros(x.data.length), place = new Int32Array(y.length);
      for (let r = 0, p = 0; r < rows; r++) for (let i = 0; i < n; i++) for (let q = 0; q < pixels; q++, p++) {
        place[p] = (r * pixels + q) * n + i;
        y[place[p]] = x.data[p];
      }
      const back = (dy) => zeros(dy.length).map((_, p) => dy[place[p]]);
      return [{ data: y, rows: rows * pixels, n, h: 1, w: 1 }, back];
    },
  };

  // inputs: one array of numbers for each example; the network knows the shape of one
  function enter(network, inputs) {
    const [rows, h, w] = network.input, n = inputs.length, pixels = h * w, data = zeros(rows * n * pixels);
    for (let c = 0; c < rows; c++) for (let i = 0; i < n; i++) for (let p = 0; p < pixels; p++) {
      data[(c * n + i) * pixels + p] = inputs[i][c * pixels + p];
    }
    return { data, rows, n, h, w };
  }

  function run(network, theta, inputs, count = network.layers.length) {
    let x = enter(network, inputs);
    const backs = [];
    for (const layer of network.layers.slice(0, count)) {
      const [y, back] = layers[layer.kind](layer, theta, x);
      backs.push(back);
      x = y;
    }
    return [x, backs];
  }

  const listed = (x) => Array.from({ length: x.n }, (_, i) => Array.from({ length: x.rows }, (_, r) => x.data[r * x.n + i]));

  // the mean loss and its gradient by the outputs; labels are whole numbers, targets are arrays
  function lossOf(outputs, answers) {
    const n = outputs.length, gradient = outputs.map((row) => row.map(() => 0));
    let loss = 0;
    outputs.forEach((row, i) => {
      if (typeof answers[i] === "number") {
        const p = softmax(row);
        loss -= Math.log(p[answers[i]]) / n;
        row.forEach((_, k) => { gradient[i][k] = (p[k] - (k === answers[i])) / n; });
      } else {
        const count = n * row.length;
        row.forEach((v, k) => {
          loss += (v - answers[i][k]) ** 2 / count;
          gradient[i][k] = 2 * (v - answers[i][k]) / count;
        });
      }
    });
    return { loss, gradient };
  }

  function softmax(row) {
    const most = Math.max(...row), e = row.map((v) => Math.exp(v - most)), sum = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / sum);
  }

  const outputs = (network, theta, inputs) => listed(run(network, theta, inputs)[0]);
  // what enters the last layer, which is the head
  const features = (network, theta, inputs) => listed(run(network, theta, inputs, network.layers.length - 1)[0]);

  function gradient(network, theta, inputs, answers) {
    const [y, backs] = run(network, theta, inputs), { loss, gradient: dy } = lossOf(listed(y), answers);
    const grad = zeros(theta.length);
    let d = zeros(y.data.length);
    dy.forEach((row, i) => row.forEach((v, r) => { d[r * y.n + i] = v; }));
    for (const back of backs.reverse()) d = back(d, grad);
    return { loss, gradient: grad };
  }

  // one step of gradient descent on the mean loss, from theta to new parameters
  function step(network, theta, inputs, answers, rate) {
    const { gradient: g, loss } = gradient(network, theta, inputs, answers);
    return { theta: theta.map((v, i) => v - rate * g[i]), loss };
  }

  function prototypes(vectors, labels, ways) {
    const means = Array.from({ length: ways }, () => vectors[0].map(() => 0)), counts = Array(ways).fill(0);
    labels.forEach((k) => { counts[k] += 1; });
    vectors.forEach((z, i) => z.forEach((v, d) => { means[labels[i]][d] += v / counts[labels[i]]; }));
    return means;
  }

  const squared = (a, b) => a.reduce((sum, v, d) => sum + (v - b[d]) ** 2, 0);

  function withoutHead(network, theta) { // a copy whose head gives zeros
    const copy = theta.slice(), { at, out, into } = network.layers.at(-1);
    copy.fill(0, at, at + out * into + out);
    return copy;
  }

  function halves(bytes) { // float16 in little-endian bytes
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => {
      const bits = bytes[2 * i] | (bytes[2 * i + 1] << 8);
      const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * fraction / 1024);
    });
  }

  function crc32(bytes) {
    let crc = -1;
    for (const byte of bytes) {
      crc ^= byte;
      for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return (crc ^ -1) >>> 0;
  }

  function parameters({ digits, data, crc }) { // of a network, from its description
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    if (crc32(bytes) !== crc) throw new Error("the weights in this page are damaged");
    if (digits === 16) return halves(bytes);
    return Float64Array.from(digits === 32 ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer));
  }

  return { outputs, features, gradient, step, prototypes, squared, softmax, withoutHead, parameters };
}
