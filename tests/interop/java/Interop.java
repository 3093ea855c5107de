// grpc-java against the echo (tests/support/echo.py): java Interop.java PLAIN TLS CA DESCRIPTORS
// Prints "ok NAME" or "FAIL NAME WHY", a tab between them, for each check, on Netty's and on OkHttp's HTTP/2.

import com.google.protobuf.ByteString;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import com.google.protobuf.DynamicMessage;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.okhttp.OkHttpChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

public class Interop {
  interface Check {
    void run() throws Exception;
  }

  static final Map<String, FileDescriptor> FILES = new HashMap<>();
  static ServiceDescriptor inference;
  static ServiceDescriptor health;
  static Descriptor request;
  static int failures;

  final String name;
  final ManagedChannel channel;
  final ManagedChannel secure;

  Interop(String name, ManagedChannel channel, ManagedChannel secure) {
    this.name = name;
    this.channel = channel;
    this.secure = secure;
  }

  public static void main(String[] args) throws Exception {
    load(Path.of(args[3]));
    int most = Integer.MAX_VALUE;
    var trust = TlsChannelCredentials.newBuilder().trustManager(new File(args[2])).build();
    new Interop(
            "netty",
            NettyChannelBuilder.forTarget(args[0]).usePlaintext().maxInboundMessageSize(most).build(),
            NettyChannelBuilder.forTarget(args[1], trust).maxInboundMessageSize(most).build())
        .run();
    new Interop(
            "okhttp",
            OkHttpChannelBuilder.forTarget(args[0]).usePlaintext().maxInboundMessageSize(most).build(),
            OkHttpChannelBuilder.forTarget(args[1], trust).maxInboundMessageSize(most).build())
        .run();
    System.exit(failures == 0 ? 0 : 1);
  }

  static void load(Path file) throws Exception {
    for (FileDescriptorProto proto : FileDescriptorSet.parseFrom(Files.readAllBytes(file)).getFileList()) {
      var needs = proto.getDependencyList().stream().map(FILES::get).toArray(FileDescriptor[]::new);
      FILES.put(proto.getName(), FileDescriptor.buildFrom(proto, needs));
    }
    for (FileDescriptor one : FILES.values()) {
      for (ServiceDescriptor service : one.getServices()) {
        if (service.getFullName().equals("inference.GRPCInferenceService")) inference = service;
        if (service.getFullName().equals("grpc.health.v1.Health")) health = service;
      }
    }
    request = inference.findMethodByName("ModelInfer").getInputType();
  }

  void run() throws Exception {
    check("unary", this::unary);
    check("large messages", this::large);
    check("many at once", this::many);
    check("metadata and trailers", this::metadata);
    check("error with details", this::details);
    check("every code", this::codes);
    check("unimplemented", () -> expect(Status.Code.UNIMPLEMENTED, () -> call("ModelConfig", empty("ModelConfig"), soon())));
    check("deadline", this::deadline);
    check("cancel", this::cancel);
    check("streams both ways", this::streams);
    check("a long stream", this::longStream);
    check("a stream that fails", this::failingStream);
    check("gzip", this::gzip);
    check("health Check", this::healthCheck);
    check("health Watch", this::healthWatch);
    check("TLS", this::tls);
    channel.shutdownNow();
    secure.shutdownNow();
  }

  void check(String what, Check check) {
    try {
      check.run();
      System.out.println("ok\t" + name + ": " + what);
    } catch (Throwable error) {
      failures++;
      System.out.println("FAIL\t" + name + ": " + what + "\t" + error.toString().replaceAll("\\s+", " "));
    }
  }

  // ---- the checks

  void unary() {
    equal(content(infer(echo(bytes(5, 1)))), bytes(5, 1));
  }

  void large() {
    equal(content(infer(echo(bytes(8_000_001, 2)))), bytes(8_000_001, 2));
  }

  void many() throws Exception {
    List<Future<DynamicMessage>> replies = new ArrayList<>();
    for (int n = 0; n < 500; n++) {
      var call = channel.newCall(method(inference, "ModelInfer"), soon());
      replies.add(ClientCalls.futureUnaryCall(call, ask("size", "bytes", n * 10)));
    }
    for (int n = 0; n < 500; n++) equal(content(replies.get(n).get()).size(), n * 10);
  }

  void metadata() {
    var text = Metadata.Key.of("echo-text", Metadata.ASCII_STRING_MARSHALLER);
    var raw = Metadata.Key.of("echo-raw-bin", Metadata.BINARY_BYTE_MARSHALLER);
    var sent = new Metadata();
    sent.put(text, "a b");
    sent.put(raw, new byte[] {0, 1, -1});
    var headers = new AtomicReference<Metadata>();
    var trailers = new AtomicReference<Metadata>();
    Channel on = io.grpc.ClientInterceptors.intercept(
        channel,
        MetadataUtils.newAttachHeadersInterceptor(sent),
        MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
    var reply = ClientCalls.blockingUnaryCall(on, method(inference, "ModelInfer"), soon(), ask("metadata"));
    equal(parameter(reply, "echo-raw-bin", "string_param"), "0001ff");
    equal(trailers.get().get(text), "a b");
    equal(Arrays.toString(trailers.get().get(raw)), "[0, 1, -1]");
  }

  void details() throws Exception {
    var error = expect(Status.Code.INVALID_ARGUMENT, () -> infer(ask("refused")));
    equal(error.getStatus().getDescription(), "one: not to be echoed");
    var reason = Metadata.Key.of("error-reason", Metadata.ASCII_STRING_MARSHALLER);
    equal(error.getTrailers().get(reason), "NotToBeEchoed");
    var rich = Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    equal(new String(error.getTrailers().get(rich)).contains("gyrostat.dev"), true);
  }

  void codes() throws Exception {
    for (int code = 1; code <= 16; code++) {
      int number = code;
      var error = expect(Status.fromCodeValue(code).getCode(), () -> infer(ask("code", "code", number)));
      equal(error.getStatus().getDescription(), "100 % näher, in zwei\nZeilen\t☂");
    }
  }

  void deadline() throws Exception {
    long before = seen("cancelled");
    var late = CallOptions.DEFAULT.withDeadlineAfter(200, TimeUnit.MILLISECONDS);
    expect(Status.Code.DEADLINE_EXCEEDED, () -> call("ModelInfer", ask("held"), late));
    until("cancelled", before + 1);
  }

  void cancel() throws Exception {
    long held = seen("held");
    long cancelled = seen("cancelled");
    var call = channel.newCall(method(inference, "ModelInfer"), soon());
    var reply = ClientCalls.futureUnaryCall(call, ask("held"));
    until("held", held + 1);
    reply.cancel(true);
    until("cancelled", cancelled + 1);
  }

  void streams() throws Exception {
    var end = new Replies();
    var call = channel.newCall(method(inference, "ModelStreamInfer"), soon());
    StreamObserver<DynamicMessage> out = ClientCalls.asyncBidiStreamingCall(call, end);
    for (int n = 0; n < 200; n++) out.onNext(echo(bytes(1000, n)));
    out.onCompleted();
    var replies = end.all.get(30, TimeUnit.SECONDS);
    equal(replies.size(), 200);
    for (int n = 0; n < 200; n++) equal(content(response(replies.get(n))), bytes(1000, n));
  }

  void longStream() throws Exception {
    var end = new Replies();
    var call = channel.newCall(method(inference, "ModelStreamInfer"), soon());
    StreamObserver<DynamicMessage> out = ClientCalls.asyncBidiStreamingCall(call, end);
    out.onNext(ask("size", "bytes", 100_000, "replies", 200));
    out.onCompleted();
    equal(end.all.get(60, TimeUnit.SECONDS).size(), 200);
  }

  void failingStream() throws Exception {
    var end = new Replies();
    var call = channel.newCall(method(inference, "ModelStreamInfer"), soon());
    ClientCalls.asyncBidiStreamingCall(call, end).onNext(ask("refused"));
    try {
      end.all.get(30, TimeUnit.SECONDS);
      throw new AssertionError("it did not fail");
    } catch (java.util.concurrent.ExecutionException error) {
      equal(Status.fromThrowable(error.getCause()).getCode(), Status.Code.INVALID_ARGUMENT);
    }
  }

  void gzip() {
    var reply = call("ModelInfer", echo(bytes(100_000, 3)), soon().withCompression("gzip"));
    equal(content(reply), bytes(100_000, 3));
  }

  void healthCheck() {
    var check = method(health, "Check");
    var reply = ClientCalls.blockingUnaryCall(channel, check, soon(), empty(health, "Check"));
    equal(field(reply, "status").toString(), "SERVING");
  }

  void healthWatch() {
    var watch = method(health, "Watch");
    Iterator<DynamicMessage> heard = ClientCalls.blockingServerStreamingCall(channel, watch, soon(), empty(health, "Watch"));
    equal(field(heard.next(), "status").toString(), "SERVING");
  }

  void tls() {
    var reply = ClientCalls.blockingUnaryCall(secure, method(inference, "ModelInfer"), soon(), echo(bytes(1_000_000, 4)));
    equal(content(reply), bytes(1_000_000, 4));
  }

  // ---- messages and calls

  static class Replies implements ClientResponseObserver<DynamicMessage, DynamicMessage> {
    final List<DynamicMessage> replies = new ArrayList<>();
    final CompletableFuture<List<DynamicMessage>> all = new CompletableFuture<>();

    public void beforeStart(ClientCallStreamObserver<DynamicMessage> call) {}

    public void onNext(DynamicMessage reply) {
      replies.add(reply);
    }

    public void onError(Throwable error) {
      all.completeExceptionally(error);
    }

    public void onCompleted() {
      all.complete(replies);
    }
  }

  static CallOptions soon() {
    return CallOptions.DEFAULT.withDeadlineAfter(60, TimeUnit.SECONDS);
  }

  static MethodDescriptor<DynamicMessage, DynamicMessage> method(ServiceDescriptor service, String method) {
    var found = service.findMethodByName(method);
    MethodDescriptor.MethodType type =
        !found.isServerStreaming()
            ? MethodDescriptor.MethodType.UNARY
            : found.isClientStreaming() ? MethodDescriptor.MethodType.BIDI_STREAMING : MethodDescriptor.MethodType.SERVER_STREAMING;
    return MethodDescriptor.<DynamicMessage, DynamicMessage>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(service.getFullName(), method))
        .setRequestMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(found.getInputType())))
        .setResponseMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(found.getOutputType())))
        .build();
  }

  static DynamicMessage empty(ServiceDescriptor service, String method) {
    return DynamicMessage.getDefaultInstance(service.findMethodByName(method).getInputType());
  }

  static DynamicMessage empty(String method) {
    return empty(inference, method);
  }

  static DynamicMessage ask(String model, Object... numbers) {
    var built = DynamicMessage.newBuilder(request);
    built.setField(request.findFieldByName("model_name"), model);
    built.setField(request.findFieldByName("id"), "one");
    FieldDescriptor parameters = request.findFieldByName("parameters");
    Descriptor entry = parameters.getMessageType();
    Descriptor value = entry.findFieldByName("value").getMessageType();
    for (int n = 0; n < numbers.length; n += 2) {
      long number = ((Integer) numbers[n + 1]).longValue();
      var given = DynamicMessage.newBuilder(value).setField(value.findFieldByName("int64_param"), number);
      built.addRepeatedField(
          parameters,
          DynamicMessage.newBuilder(entry)
              .setField(entry.findFieldByName("key"), numbers[n])
              .setField(entry.findFieldByName("value"), given.build())
              .build());
    }
    return built.build();
  }

  static DynamicMessage echo(ByteString content) {
    Descriptor tensor = request.findFieldByName("inputs").getMessageType();
    var input = DynamicMessage.newBuilder(tensor);
    input.setField(tensor.findFieldByName("name"), "x").setField(tensor.findFieldByName("datatype"), "UINT8");
    input.addRepeatedField(tensor.findFieldByName("shape"), (long) content.size());
    return ask("echo").toBuilder()
        .addRepeatedField(request.findFieldByName("inputs"), input.build())
        .addRepeatedField(request.findFieldByName("raw_input_contents"), content)
        .build();
  }

  static ByteString bytes(int size, int fill) {
    byte[] content = new byte[size];
    Arrays.fill(content, (byte) fill);
    return ByteString.copyFrom(content);
  }

  DynamicMessage call(String method, DynamicMessage message, CallOptions options) {
    return ClientCalls.blockingUnaryCall(channel, method(inference, method), options, message);
  }

  DynamicMessage infer(DynamicMessage message) {
    return call("ModelInfer", message, soon());
  }

  static Object field(DynamicMessage message, String name) {
    return message.getField(message.getDescriptorForType().findFieldByName(name));
  }

  static DynamicMessage response(DynamicMessage streamed) {
    return (DynamicMessage) field(streamed, "infer_response");
  }

  static ByteString content(DynamicMessage reply) {
    return (ByteString) ((List<?>) field(reply, "raw_output_contents")).get(0);
  }

  static Object parameter(DynamicMessage reply, String key, String kind) {
    for (Object entry : (List<?>) field(reply, "parameters")) {
      var pair = (DynamicMessage) entry;
      if (field(pair, "key").equals(key)) return field((DynamicMessage) field(pair, "value"), kind);
    }
    throw new AssertionError("no parameter " + key);
  }

  long seen(String what) {
    return (Long) parameter(infer(ask("seen")), what, "int64_param");
  }

  void until(String what, long wanted) throws Exception {
    for (int tries = 0; tries < 500 && seen(what) != wanted; tries++) Thread.sleep(20);
    equal(seen(what), wanted);
  }

  static StatusRuntimeException expect(Status.Code code, Check check) throws Exception {
    try {
      check.run();
    } catch (StatusRuntimeException error) {
      equal(error.getStatus().getCode(), code);
      return error;
    }
    throw new AssertionError("it did not fail");
  }

  static void equal(Object is, Object wanted) {
    if (!wanted.equals(is)) throw new AssertionError("it is " + shown(is) + ", not " + shown(wanted));
  }

  static String shown(Object value) {
    String text = String.valueOf(value);
    return text.length() > 100 ? text.substring(0, 100) + "…" : text;
  }
}
