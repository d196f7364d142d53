// On a narrow window a wide equation is made smaller until it fits, to five eighths at the least:
// one that is wider still has to be broken in its source, and scrolls in its box. It is measured
// when its box gets another width, which is also when what concealed it is opened.
addEventListener("load", () => {
  if (!window.MathJax?.startup?.promise) return;
  const SMALLEST = 0.625;
  const widths = new WeakMap();
  function fit(box) {
    if (!box.clientWidth || widths.get(box) === box.clientWidth) return;
    widths.set(box, box.clientWidth);
    const equation = box.firstElementChild;
    equation.style.fontSize = "";
    const share = box.clientWidth / box.scrollWidth;
    if (share < 1) equation.style.fontSize = `${100 * Math.max(SMALLEST, 0.99 * share)}%`;
  }
  MathJax.startup.promise.then(() => {
    const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
    const boxes = document.querySelectorAll('mjx-container[display="true"]');
    boxes.forEach((box) => { fit(box); observer.observe(box); });
  });
});
