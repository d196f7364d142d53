// On a narrow window a wide equation is made smaller until it fits, to five eighths at the least:
// one that is wider still has to be broken in its source, and scrolls in its box.
addEventListener("load", () => {
  if (!window.MathJax?.startup?.promise) return;
  const SMALLEST = 0.625;
  function fit() {
    for (const box of document.querySelectorAll('mjx-container[display="true"]')) {
      const equation = box.firstElementChild;
      equation.style.fontSize = "";
      const share = box.clientWidth / box.scrollWidth;
      if (share < 1) equation.style.fontSize = `${100 * Math.max(SMALLEST, 0.99 * share)}%`;
    }
  }
  MathJax.startup.promise.then(() => {
    fit();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; fit(); } });
  });
});
