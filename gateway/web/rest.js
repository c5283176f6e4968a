// The gateway over plain HTTP: JSON in and out, its problems as errors with their codes.

/** What the gateway answered with instead of what was asked for. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "internal";
  }
}

export const get = (path) => ask(path, { method: "GET" });
export const post = (path, body = {}, headers = {}) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
export const remove = (path) => ask(path, { method: "DELETE" });
export const upload = (path, file) =>
  ask(path, { method: "POST", headers: { "Content-Type": file.type }, body: file });

async function ask(path, request) {
  const answer = await fetch(path, request);
  const text = await answer.text();
  const said = text.startsWith("{") ? JSON.parse(text) : {};
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}
