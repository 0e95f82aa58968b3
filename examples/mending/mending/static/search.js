// Searches while one types: fetches the same page and exchanges the answer. Without it, the button does.
"use strict";

const form = document.getElementById("search");

if (form) {
  const box = form.elements.q;
  let waiting, running;

  const search = async () => {
    document.getElementById("answer").ariaBusy = "true";
    running?.abort();
    running = new AbortController();
    const query = new URLSearchParams(new FormData(form));
    const address = `/?${query}`;
    try {
      const response = await fetch(address, { signal: running.signal });
      if (!response.ok) return form.submit();
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      document.getElementById("answer").replaceWith(page.getElementById("answer"));
      document.title = page.title;
      history.replaceState(null, "", address);
    } catch (problem) {
      if (problem.name !== "AbortError") form.submit();
    }
  };

  box.addEventListener("input", () => {
    document.getElementById("answer").ariaBusy = "true";
    clearTimeout(waiting);
    waiting = setTimeout(search, 250);
  });
  form.elements.topic.addEventListener("change", search);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    search();
  });
}

// "/" goes to the search box, as on many sites.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (form && event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    form.elements.q.select();
  }
});
