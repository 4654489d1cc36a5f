// Every table can be had as CSV.

/** A cell as CSV has it; a true minus becomes one that programs read. */
function cell(text) {
  const plain = text.trim().replace(/\s+/g, " ").replace(/^−/, "-");
  return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function csv(table) {
  return [...table.rows].map((row) => [...row.cells].map((c) => cell(c.textContent)).join(",")).join("\n") + "\n";
}

export function startTables(root) {
  for (const table of root.querySelectorAll(".scroll > table")) {
    if (table.rows.length < 3 || table.dataset.csv) continue;
    table.dataset.csv = "true";
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "csv", textContent: "CSV" });
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
      link.download = "optrode.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    table.parentElement.after(button);
  }
}
