// Composing edits: the list is a part of the address.
import { fields, send } from "./job.js";

function compose(form) {
  const { site, op, params } = form.elements;
  let more = {};
  if (params.value.trim()) {
    more = JSON.parse(params.value);
    if (typeof more !== "object" || Array.isArray(more)) throw new Error("parameters are an object such as {\"value\": 2.5}");
  }
  return { site: site.value.trim(), op: op.value, ...more };
}

function say(form, message) {
  const line = form.querySelector(".failure");
  line.textContent = message;
  line.hidden = !message;
}

/** Goes to the page with other edits. */
function go(edits) {
  const query = new URLSearchParams(location.search);
  if (edits.length) query.set("edits", JSON.stringify(edits));
  else query.delete("edits");
  location.search = query.toString();
}

export function startEdits(root) {
  const list = root.querySelector("[data-edits]");
  const edits = () => JSON.parse(list ? list.dataset.edits : "[]");
  for (const form of root.querySelectorAll("form[data-compose]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      try {
        const edit = compose(form);
        const run = root.querySelector("form[data-address] [name=edits]");
        if (form.dataset.compose === "into-run") {
          run.value = JSON.stringify([...JSON.parse(run.value || "[]"), edit]);
          run.scrollIntoView({ block: "center" });
        } else {
          go([...edits(), edit]);
        }
        say(form, "");
      } catch (error) {
        say(form, error.message);
      }
    });
  }
  for (const button of root.querySelectorAll("[data-remove]")) {
    button.addEventListener("click", () => go(edits().filter((_, i) => i !== Number(button.dataset.remove))));
  }
  for (const form of root.querySelectorAll("form[data-put]")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        const { name, ...body } = fields(form);
        if (!name) throw new Error("give it a name");
        await send("PUT", form.dataset.put + encodeURIComponent(name), body);
        location.search = new URLSearchParams({ saved: name }).toString();
      } catch (error) {
        say(form, error.message);
      }
    });
  }
}
