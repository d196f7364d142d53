// Escape closes the explanation of a term until the mouse or the focus comes back to it.
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const term of document.querySelectorAll(".explained:is(:hover, :focus-within)")) {
    term.classList.add("closed");
    const open = () => {
      if (!term.matches(":hover, :focus-within")) term.classList.remove("closed");
    };
    for (const left of ["mouseleave", "focusout"]) {
      term.addEventListener(left, () => setTimeout(open), { once: true });
    }
  }
});
