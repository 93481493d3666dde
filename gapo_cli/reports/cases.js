"use strict";
// Filters of the page of cases: a case is shown if it has every chosen value.
(() => {
  const cases = [...document.querySelectorAll(".case")];
  const menus = [...document.querySelectorAll("select[data-filter]")];
  const count = document.getElementById("count");
  function filter() {
    let shown = 0;
    for (const one of cases) {
      one.hidden = !menus.every((menu) => menu.value === "" || one.dataset[menu.dataset.filter] === menu.value.slice(1));
      shown += one.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${cases.length} cases`;
  }
  for (const menu of menus) menu.addEventListener("change", filter);
  const all = (open) => () => { for (const one of cases) if (!one.hidden) one.open = open; };
  document.getElementById("open").addEventListener("click", all(true));
  document.getElementById("close").addEventListener("click", all(false));
  filter();
})();
