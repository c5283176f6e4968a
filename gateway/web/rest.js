// The gateway over plain HTTP: JSON in and out, its problems as errors with their codes.

/** What the gateway answered with instead of what was asked for. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "internal";
  }
}

export const get = (path) => ask("GET", path);
export const post = (path, body = {}, headers = {}) => ask("POST", path, body, headers);
export const remove = (path) => ask("DELETE", path);

async function ask(method, path, body, headers = {}) {
  const answer = await fetch(path, {
    method,
    headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  const said = text.startsWith("{") ? JSON.parse(text) : {};
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}
