// A set transformer, forward, in double precision: labelled examples and queries in, answers out,
// for one task, as `metalearn_lite.in_context.SetTransformer` gives them.
//
//   const read = setTransformer(network, theta);     // network: its sizes; theta: its parameters, in torch's order
//   read([[x], ...], [[y], ...], [[query], ...]);    // a list of outputs for each query
function setTransformer({ into: inputs, out: outputs, width, heads, count }, theta) {
  let place = 0;
  const take = (length) => theta.subarray(place, place += length);
  const linear = (into, out) => {
    const weights = take(out * into), bias = take(out);
    return (row) => Array.from(bias, (sum, o) => {
      for (let i = 0; i < into; i++) sum += weights[o * into + i] * row[i];
      return sum;
    });
  };
  const norm = () => {
    const weight = take(width), bias = take(width);
    return (row) => {
      const mean = row.reduce((sum, v) => sum + v, 0) / width;
      const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width + 1e-5);
      return row.map((v, i) => (v - mean) * scale * weight[i] + bias[i]);
    };
  };
  function erf(x) { // by its series; far out by the continued fraction of what is missing to 1
    if (Math.abs(x) > 2.5) {
      let fraction = Math.abs(x);
      for (let k = 60; k > 0; k--) fraction = Math.abs(x) + k / 2 / fraction;
      return Math.sign(x) * (1 - Math.exp(-x * x) / fraction / Math.sqrt(Math.PI));
    }
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-18; n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return sum * 2 / Math.sqrt(Math.PI);
  }
  const gelu = (x) => x * (1 + erf(x / Math.SQRT2)) / 2;
  const plus = (rows, others) => rows.map((row, i) => row.map((v, k) => v + others[i][k]));

  // row i reads the first n rows, and itself
  function attention() {
    const [query, key, value, output] = [0, 1, 2, 3].map(() => linear(width, width)), size = width / heads;
    return (rows, n) => {
      const [q, k, v] = [query, key, value].map((layer) => rows.map(layer));
      return rows.map((_, i) => {
        const read = Array.from({ length: n }, (__, j) => j).concat(i < n ? [] : [i]), mixed = Array(width).fill(0);
        for (let first = 0; first < width; first += size) {
          const scores = read.map((j) => {
            let sum = 0;
            for (let c = first; c < first + size; c++) sum += q[i][c] * k[j][c];
            return sum / Math.sqrt(size);
          });
          const most = Math.max(...scores), parts = scores.map((s) => Math.exp(s - most));
          const all = parts.reduce((sum, p) => sum + p, 0);
          read.forEach((j, at) => {
            for (let c = first; c < first + size; c++) mixed[c] += parts[at] / all * v[j][c];
          });
        }
        return output(mixed);
      });
    };
  }
  function layer() {
    const before = norm(), attend = attention(), inside = norm(), widen = linear(width, 2 * width), narrow = linear(2 * width, width);
    return (rows, n) => {
      const read = plus(rows, attend(rows.map(before), n));
      return plus(read, read.map((row) => narrow(widen(inside(row)).map(gelu))));
    };
  }
  const readX = linear(inputs, width), readY = linear(outputs, width);
  const layers = Array.from({ length: count }, layer), last = norm(), head = linear(width, outputs);
  return (xs, ys, queries) => {
    const examples = plus(xs.map(readX), ys.map(readY));
    const rows = layers.reduce((now, one) => one(now, xs.length), [...examples, ...queries.map(readX)]);
    return rows.slice(xs.length).map((row) => head(last(row)));
  };
}
