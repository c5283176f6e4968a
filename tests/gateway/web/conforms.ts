/** What is declared of the client, in `client.d.ts` here, against what it is, in `real/`: no name more, no name less. */

import type * as declared from "./client.js";
import type * as real from "./real/client.js";
import type { Hatch } from "./real/hatch.js";
import type { View } from "./real/view.js";

type None<Name extends never> = Name; // the compiler's complaint says which one it is
type Difference<A, B> = Exclude<A, B> | Exclude<B, A>;
type Own = `_${string}`; // the client's, by agreement

export type Differences = [
  None<Difference<keyof typeof real, keyof typeof declared>>,
  None<Difference<keyof real.Client, keyof declared.Client>>,
  None<Difference<Exclude<keyof Hatch, Own>, keyof declared.Hatch>>,
  None<Difference<Exclude<keyof View, "take">, keyof declared.View>>,
  None<Difference<keyof real.HatcheryError, keyof declared.HatcheryError>>,
];
