// Run models in onnxruntime-web (wasm) for a program that is in another process: node worker.mjs FOLDER
//
// FOLDER has node_modules/onnxruntime-web. Requests and answers are those of worker.py: lines of JSON.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(join(process.argv[2], 'index.js')));
const packed = require.resolve('onnxruntime-web').replace(/ort[^/]*$/, '');
const ort = await import(pathToFileURL(join(packed, 'ort.wasm.min.mjs')).href);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = pathToFileURL(packed).href;
ort.env.logLevel = 'fatal';

const NAMES = {
  float32: 'float32', float64: 'float64', float16: 'float16', bfloat16: 'bfloat16', bool: 'bool', int4: 'int4', uint4: 'uint4',
  int8: 'int8', uint8: 'uint8', int16: 'int16', uint16: 'uint16', int32: 'int32', uint32: 'uint32', int64: 'int64',
  uint64: 'uint64',
};
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: globalThis.Float16Array ?? Uint16Array, bool: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array,
};
let session = null;

async function load(model) {
  if (session) await session.release();
  session = null;
  session = await ort.InferenceSession.create(new Uint8Array(Buffer.from(model, 'base64')), { executionProviders: ['wasm'], logSeverityLevel: 4 });
  return [session.inputNames, session.outputNames];
}

async function run(arrays) {
  const feeds = {};
  session.inputNames.forEach((name) => {
    const [dtype, shape, content] = arrays[name];
    const kind = ARRAYS[dtype];
    if (!kind) throw new Error(`JavaScript has no arrays of ${dtype}`);
    const bytes = Uint8Array.from(Buffer.from(content, 'base64'));
    feeds[name] = new ort.Tensor(NAMES[dtype], new kind(bytes.buffer), shape);
  });
  const results = await session.run(feeds);
  return session.outputNames.map((name) => {
    const { type, dims, data } = results[name];
    return [type, [...dims], Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')];
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const [what, payload] = JSON.parse(line);
    answer = ['ok', await (what === 'load' ? load(payload) : run(payload))];
  } catch (error) {
    answer = ['refused', String(error?.message ?? error)];
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
