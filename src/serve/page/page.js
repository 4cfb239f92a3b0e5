// What scripts add to pages that work without them: copying a line, filtering a list that is whole, printing.
"use strict";

const said = document.getElementById("said");
let silence = 0;

function say(before, line) {
  const code = document.createElement("code");
  code.textContent = line;
  said.replaceChildren(before + " ", code);
  clearTimeout(silence);
  silence = setTimeout(() => said.replaceChildren(), 8000);
  return code;
}

function select(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

async function copy(line) {
  // Browsers have a clipboard for pages only where these are secure: https, or this machine.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(line);
      say("Copied:", line);
      return;
    } catch {
      // Not permitted: as below.
    }
  }
  select(say("Copied:", line));
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    // Left to the reader.
  }
  if (!done) {
    select(say("Selected, press Ctrl+C:", line));
    clearTimeout(silence);
  }
}

function lineOf(button) {
  const from = button.dataset.from && document.getElementById(button.dataset.from);
  if (from) {
    return from.textContent;
  }
  const template = document.querySelector("input[name=tool]:checked").dataset.line;
  return template.replace("{name}", button.dataset.name).replace("{image}", button.dataset.image);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.classList.contains("copy")) {
    copy(lineOf(button));
  } else if (button?.classList.contains("print")) {
    print();
  }
});

// The tool that was chosen stays chosen, where the browser remembers things for this page.
function remembered(value) {
  try {
    return value ? localStorage.setItem("tool", value) : localStorage.getItem("tool");
  } catch {
    return null;
  }
}
const tools = [...document.querySelectorAll("input[name=tool]")];
for (const tool of tools) {
  tool.checked = tool.value === (remembered() ?? "docker");
  tool.addEventListener("change", () => remembered(tool.value));
}
if (tools.length && !tools.some((tool) => tool.checked)) {
  tools[0].checked = true;
}

// A list that is here as a whole is narrowed while one types; any other is the server's to search.
const search = document.getElementById("q");
const list = document.querySelector("table[data-list=whole] tbody");
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of list?.rows ?? []) {
    const name = row.cells[0].textContent.toLowerCase();
    row.hidden = !words.every((word) => name.includes(word));
  }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.altKey && !event.metaKey) {
    event.preventDefault();
    search.focus();
  }
});
