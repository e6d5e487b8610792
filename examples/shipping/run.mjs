// Run a model in onnxruntime-node: node run.mjs MODEL CASE, after npm install onnxruntime-node.
//
// CASE is JSON: the name of an input -> its dtype, shape and numbers. The outputs are printed in the same form.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const ort = createRequire(join(process.cwd(), 'index.js'))('onnxruntime-node');
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

const [model, held] = process.argv.slice(2);
const session = await ort.InferenceSession.create(model);
const feeds = {};
for (const [name, { dtype, shape, data }] of Object.entries(JSON.parse(readFileSync(held)))) {
  feeds[name] = new ort.Tensor(dtype, ARRAYS[dtype].from(data), shape);
}
const results = await session.run(feeds);
const told = {};
for (const name of session.outputNames) {
  told[name] = { dtype: results[name].type, shape: results[name].dims, data: Array.from(results[name].data) };
}
console.log(JSON.stringify(told));
