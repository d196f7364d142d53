// Ways to make one direction of the gradients of several tasks: lists of numbers, one a task.
//
//   COMBINE.sum(gradients), COMBINE.PCGrad(gradients), COMBINE.MGDA(gradients)  // one list of numbers
//
// PCGrad meets the other tasks in random order. With two tasks there is one other, and no order to
// choose. With more, `order(task)` says in which order the task meets the others; whoever takes
// steps draws it anew in each. Without it they are met as they are listed, the same in each step.
const inner = (g, h) => g.reduce((total, value, k) => total + value * h[k], 0);
const mixed = (weights, gradients) => gradients[0].map((_, k) =>
  weights.reduce((total, weight, task) => total + weight * gradients[task][k], 0));

const COMBINE = {
  sum: (gradients) => mixed(gradients.map(() => 1), gradients),

  PCGrad(gradients, order = () => gradients.keys()) {
    const changed = gradients.map((own, task) => {
      let rest = own;
      for (const other of order(task)) {
        const along = inner(rest, gradients[other]);
        if (other === task || along >= 0) continue;
        const part = along / inner(gradients[other], gradients[other]);
        rest = rest.map((value, k) => value - part * gradients[other][k]);
      }
      return rest;
    });
    return mixed(gradients.map(() => 1), changed);
  },

  // The shortest of all weighted means: weight goes from the worst task that has some to the best,
  // as much as is best, until nothing is gained. For two tasks the first move is the last.
  MGDA(gradients) {
    const products = gradients.map((g) => gradients.map((h) => inner(g, h)));
    const longest = Math.max(...products.map((row, task) => row[task]));
    const weights = gradients.map(() => 1 / gradients.length);
    for (let move = 0; move < 10000; move++) {
      const slopes = products.map((row) => inner(row, weights));
      const best = slopes.indexOf(Math.min(...slopes));
      const heavy = [...slopes.keys()].filter((task) => weights[task] > 0);
      const worst = heavy.reduce((most, task) => slopes[task] > slopes[most] ? task : most);
      if (slopes[worst] - slopes[best] <= 1e-12 * longest) break;
      const bend = products[best][best] + products[worst][worst] - 2 * products[best][worst];
      const moved = Math.min(weights[worst], (slopes[worst] - slopes[best]) / bend);
      weights[best] += moved;
      weights[worst] -= moved;
    }
    return mixed(weights, gradients);
  },
};
