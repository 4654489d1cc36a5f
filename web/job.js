// Forms that start jobs; their progress, what they say meanwhile, and what comes out.
import { startTables } from "./table.js";

/** What a failed request says. */
async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the server answered ${response.status}`;
  }
}

/** Sends JSON; gives the answer or throws what the server says. */
export async function send(method, address, body) {
  const request = { method, headers: { "content-type": "application/json" } };
  if (body !== undefined) request.body = JSON.stringify(body);
  const response = await fetch(address, request);
  if (!response.ok) throw new Error(await reason(response));
  return response.json();
}

/** The fields of a form as a body; what is empty is left out. */
export function fields(form) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.value === "") continue;
    const { name, value, dataset } = field;
    if (dataset.type === "number") {
      body[name] = Number(value);
    } else if (dataset.type === "json") {
      try {
        body[name] = JSON.parse(value);
      } catch (error) {
        throw new Error(`${name} is no JSON: ${error.message}`);
      }
    } else if (dataset.type === "lines") {
      const lines = value.split("\n").map((line) => line.trim()).filter((line) => line);
      if (lines.length) body[name] = lines;
    } else {
      body[name] = value;
    }
  }
  return body;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function fail(box, message) {
  box.replaceChildren(element("p", { className: "failure", role: "alert", textContent: message }));
}

/** A column for each text that a job says. */
function column(streams, side) {
  let found = streams.querySelector(`[data-side="${side}"] p`);
  if (!found) {
    const title = side === "plain" ? "As it is" : "With the edit";
    const part = element("div", { className: "stream" }, element("h4", { textContent: title }), element("p", {}));
    part.dataset.side = side;
    streams.append(part);
    found = part.lastChild;
  }
  return found;
}

/** Follows a job in a box until it ends. Gives a function that stops it. */
export function follow(id, box, { streams = false, reload = false } = {}) {
  const bar = element("progress", { max: 1 });
  const words = element("span", { className: "quiet", textContent: "waits" });
  const stop = element("button", { type: "button", textContent: "Stop", className: "stop" });
  const line = element("p", { className: "running" }, bar, " ", words, " ", stop);
  const said = element("div", { className: "streams" });
  box.replaceChildren(line, said);
  const events = new EventSource(`/api/v1/jobs/${id}/events`);
  const end = () => send("DELETE", `/api/v1/jobs/${id}`).catch(() => {});
  stop.addEventListener("click", () => { stop.disabled = true; end(); });
  // A stream that was interrupted begins anew.
  events.addEventListener("open", () => said.replaceChildren());
  events.addEventListener("said", (event) => {
    for (const piece of JSON.parse(event.data)) column(said, piece.side).append(piece.text);
  });
  events.addEventListener("progress", (event) => {
    const job = JSON.parse(event.data);
    if (job.of) [bar.max, bar.value] = [job.of, job.done];
    const count = job.of ? ` ${Math.round((100 * job.done) / job.of)} %` : "";
    words.textContent = job.status === "waiting" ? "waits" : `${job.task}${count}`;
  });
  events.addEventListener("end", async (event) => {
    events.close();
    const job = JSON.parse(event.data);
    line.remove();
    box.dataset.status = job.status;
    if (job.status === "done" && reload) {
      location.reload();
    } else if (job.status === "done" && streams) {
      said.append(element("p", { className: "quiet", textContent: `${job.seconds.toFixed(1)} s` }));
    } else if (job.status === "done") {
      const response = await fetch(`/jobs/${id}/view`);
      if (response.ok) box.innerHTML = await response.text();
      else fail(box, await reason(response));
      startTables(box);
    } else {
      const why = job.status === "stopped" ? "Stopped." : job.error;
      said.append(element("p", { className: "failure", role: "alert", textContent: why }));
    }
  });
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) fail(box, "The server does not answer any more.");
  };
  return () => { events.close(); end(); };
}

/** Shows the fields of a form in the address, so that it can be kept. */
function remember(form) {
  const query = new URLSearchParams();
  for (const field of form.elements) if (field.name && field.value) query.set(field.name, field.value);
  history.replaceState(null, "", `?${query}`);
}

function startForm(form) {
  const box = form.nextElementSibling;
  let stop = null;
  let latest = 0;
  const start = async () => {
    if (stop) stop();
    stop = null;
    const own = ++latest;
    delete box.dataset.status;
    const range = form.querySelector("[data-value]");
    const template = form.querySelector("[data-template]");
    if (range && template) template.value = template.dataset.template.replace("VALUE", range.value);
    try {
      const body = fields(form);
      if (form.dataset.address) remember(form);
      const job = await send("POST", form.dataset.post, body);
      if (own !== latest) {
        // A newer one was started meanwhile.
        send("DELETE", `/api/v1/jobs/${job.id}`).catch(() => {});
        return;
      }
      stop = follow(job.id, box, { streams: Boolean(form.dataset.streams) });
    } catch (error) {
      fail(box, error.message);
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); start(); });
  if (form.dataset.live) {
    let timer = 0;
    const range = form.querySelector("[data-value]");
    range.addEventListener("input", () => {
      form.querySelector("output").textContent = Number(range.value).toPrecision(3);
      clearTimeout(timer);
      timer = setTimeout(start, 250);
    });
  }
}

export function startJobs(root) {
  for (const form of root.querySelectorAll("form[data-post]")) startForm(form);
  for (const box of root.querySelectorAll("[data-job]")) follow(box.dataset.job, box, { reload: Boolean(box.dataset.reload) });
}
