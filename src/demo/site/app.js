// Shows what the edge said about the image.
fetch("/logo.svg").then((answer) => {
  const names = ["age", "cache-status", "cache-control", "etag", "via"];
  const told = names.filter((name) => answer.headers.has(name));
  const lines = told.map((name) => `${name}: ${answer.headers.get(name)}`);
  document.getElementById("fields").textContent = lines.join("\n");
});
