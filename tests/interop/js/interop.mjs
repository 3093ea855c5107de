// grpc-js against the echo (tests/support/echo.py): node interop.mjs PLAIN TLS CA DESCRIPTORS, in MODULES its packages
// and in PROTOS the folder of our .proto files.
// Prints "ok NAME" or "FAIL NAME WHY", a tab between them, for each check.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(path.join(process.env.MODULES, 'here')));
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [plain, tls, ca, descriptors] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String };
const file = 'gyrostat/oip/grpc_service.proto';
const ours = loader.loadSync(file, { ...options, includeDirs: [process.env.PROTOS] });
const Inference = grpc.loadPackageDefinition(ours).inference.GRPCInferenceService;
const standard = loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(descriptors), options);
const Health = grpc.loadPackageDefinition(standard).grpc.health.v1.Health;
const large = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };
const gzip = { ...large, 'grpc.default_compression_algorithm': 2 };
const inference = new Inference(plain, grpc.credentials.createInsecure(), large);
const health = new Health(plain, grpc.credentials.createInsecure());

const soon = (seconds = 30) => ({ deadline: Date.now() + seconds * 1000 });
const ask = (model, parameters = {}) => ({
  model_name: model,
  id: 'one',
  parameters: Object.fromEntries(Object.entries(parameters).map(([name, n]) => [name, { int64_param: n }])),
});
const echo = (content) => ({
  ...ask('echo'),
  inputs: [{ name: 'x', datatype: 'UINT8', shape: [content.length] }],
  raw_input_contents: [content],
});
const unary = (client, request, metadata = new grpc.Metadata(), limits = soon()) =>
  new Promise((resolve) => {
    const end = {};
    const call = client.ModelInfer(request, metadata, limits, (error, reply) => {
      Object.assign(end, { error, reply });
      if (end.status) resolve(end);
    });
    call.on('status', (status) => {
      end.status = status;
      if ('error' in end) resolve(end);
    });
  });
const seen = async () => {
  const { reply } = await unary(inference, ask('seen'));
  return { held: reply.parameters.held.int64_param, cancelled: reply.parameters.cancelled.int64_param };
};
const until = async (look) => {
  for (let tries = 0; tries < 500; tries++) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail('it never came true');
};
const read = (stream) =>
  new Promise((resolve, reject) => {
    const replies = [];
    stream.on('data', (reply) => replies.push(reply));
    stream.on('error', reject);
    stream.on('end', () => resolve(replies));
  });

const checks = {
  unary: async () => {
    const content = Buffer.from('hello');
    assert.deepEqual((await unary(inference, echo(content))).reply.raw_output_contents, [content]);
  },
  'large messages': async () => {
    const content = Buffer.alloc(8_000_001, 'abcdefg');
    assert.ok((await unary(inference, echo(content))).reply.raw_output_contents[0].equals(content));
  },
  'many at once': async () => {
    const sizes = Array.from({ length: 500 }, (_, n) => n * 10);
    const ends = await Promise.all(sizes.map((bytes) => unary(inference, ask('size', { bytes }))));
    assert.deepEqual(ends.map((end) => end.reply.raw_output_contents[0].length), sizes);
  },
  'metadata and trailers': async () => {
    const metadata = new grpc.Metadata();
    metadata.add('echo-text', 'a b');
    metadata.add('echo-raw-bin', Buffer.from([0, 1, 255]));
    const { reply, status } = await unary(inference, ask('metadata'), metadata);
    assert.equal(reply.parameters['echo-raw-bin'].string_param, '0001ff');
    assert.deepEqual(status.metadata.get('echo-text'), ['a b']);
    assert.deepEqual(status.metadata.get('echo-raw-bin'), [Buffer.from([0, 1, 255])]);
  },
  'error with details': async () => {
    const { error } = await unary(inference, ask('refused'));
    assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
    assert.equal(error.details, 'one: not to be echoed');
    assert.deepEqual(error.metadata.get('error-reason'), ['NotToBeEchoed']);
    assert.ok(error.metadata.get('grpc-status-details-bin')[0].includes('gyrostat.dev'));
  },
  'every code': async () => {
    for (let code = 1; code <= 16; code++) {
      const { error } = await unary(inference, ask('code', { code }));
      assert.equal(error.code, code);
      assert.equal(error.details, '100 % näher, in zwei\nZeilen\t☂');
    }
  },
  unimplemented: async () => {
    const call = new Promise((resolve) => inference.ModelConfig({ name: 'x' }, soon(), (error) => resolve(error)));
    assert.equal((await call).code, grpc.status.UNIMPLEMENTED);
  },
  deadline: async () => {
    const before = await seen();
    const { error } = await unary(inference, ask('held'), new grpc.Metadata(), soon(0.2));
    assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
    await until(async () => (await seen()).cancelled === before.cancelled + 1);
  },
  cancel: async () => {
    const before = await seen();
    let call;
    const end = new Promise((resolve) => (call = inference.ModelInfer(ask('held'), soon(), (error) => resolve(error))));
    await until(async () => (await seen()).held === before.held + 1);
    call.cancel();
    assert.equal((await end).code, grpc.status.CANCELLED);
    await until(async () => (await seen()).cancelled === before.cancelled + 1);
  },
  'streams both ways': async () => {
    const stream = inference.ModelStreamInfer(new grpc.Metadata(), soon());
    const replies = read(stream);
    for (let n = 0; n < 200; n++) stream.write(echo(Buffer.alloc(1000, n)));
    stream.end();
    const contents = (await replies).map((reply) => reply.infer_response.raw_output_contents[0][0]);
    assert.deepEqual(contents, Array.from({ length: 200 }, (_, n) => n % 256));
  },
  'a long stream': async () => {
    const stream = inference.ModelStreamInfer(new grpc.Metadata(), soon(60));
    const replies = read(stream);
    stream.write(ask('size', { bytes: 100_000, replies: 200 }));
    stream.end();
    assert.equal((await replies).length, 200);
  },
  'a stream that fails': async () => {
    const stream = inference.ModelStreamInfer(new grpc.Metadata(), soon());
    const replies = read(stream);
    stream.write(ask('refused'));
    await assert.rejects(replies, { code: grpc.status.INVALID_ARGUMENT });
  },
  gzip: async () => {
    const client = new Inference(plain, grpc.credentials.createInsecure(), gzip);
    const content = Buffer.alloc(100_000, 'squeeze');
    assert.ok((await unary(client, echo(content))).reply.raw_output_contents[0].equals(content));
    client.close();
  },
  'health Check': async () => {
    const reply = await new Promise((resolve, reject) =>
      health.Check({ service: '' }, soon(), (error, found) => (error ? reject(error) : resolve(found))));
    assert.equal(reply.status, 'SERVING');
  },
  'health Watch': async () => {
    const watch = health.Watch({ service: '' });
    watch.on('error', () => {}); // our own cancelling
    assert.equal((await new Promise((resolve) => watch.once('data', resolve))).status, 'SERVING');
    watch.cancel();
  },
  TLS: async () => {
    const client = new Inference(tls, grpc.credentials.createSsl(fs.readFileSync(ca)), large);
    const content = Buffer.alloc(1_000_000, 'secret');
    assert.ok((await unary(client, echo(content))).reply.raw_output_contents[0].equals(content));
    client.close();
  },
};

const patience = setTimeout(() => process.exit(3), 120_000);
let failures = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok\t${name}`);
  } catch (error) {
    failures++;
    console.log(`FAIL\t${name}\t${String(error.message).replace(/\s+/g, ' ').slice(0, 300)}`);
  }
}
clearTimeout(patience);
process.exit(failures ? 1 : 0);
