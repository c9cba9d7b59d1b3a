/* Ask signatures of SavedModels as a C++ server does: no Python, only TensorFlow's C API.
 *
 *   predict MODEL_DIRECTORY SIGNATURE ... [-- MODEL_DIRECTORY SIGNATURE ...] < requests > responses
 *
 * Requests come in the order of the signatures; an empty line ends each, and each response.
 * Requests and responses hold one block a tensor: a line `name dtype dimension dimension ...`, then a line a
 * value in row-major order. Strings are written as hexadecimal bytes, so that any byte can be in them. In
 * requests the dtype is read and must be the signature's. Exit status 1 and a message on stderr on any error.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { MAX_TENSORS = 64, MAX_DIMENSIONS = 8, MAX_LINE = 1 << 20 };

typedef struct {
  const uint8_t *at, *end;
} Bytes;

/* What a signature says of one tensor: the name a client uses, and the place in the graph. */
typedef struct {
  char name[256], tensor[512];
  TF_DataType dtype;
} Slot;

typedef struct {
  Slot inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  int n_inputs, n_outputs;
} Signature;

static char line[MAX_LINE];

static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  va_end(values);
  fputc('\n', stderr);
  exit(1);
}

static void check(TF_Status *status) {
  if (TF_GetCode(status) != TF_OK) fail("%s", TF_Message(status));
}

/* ---- The few fields of a MetaGraphDef that are needed, from the wire format of protocol buffers. ---- */

static uint64_t varint(Bytes *message) {
  uint64_t value = 0;
  for (int shift = 0; message->at < message->end && shift < 64; shift += 7) {
    uint8_t byte = *message->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("a number of the MetaGraphDef is cut off");
  return 0;
}

/* Steps to the next field; its number, or 0 at the end. Integers arrive in `value`, the rest in `content`. */
static int next_field(Bytes *message, Bytes *content, uint64_t *value) {
  if (message->at >= message->end) return 0;
  uint64_t key = varint(message);
  size_t size = 0;
  *value = 0;
  switch (key & 7) {
    case 0: *value = varint(message); break;
    case 1: size = 8; break;
    case 2: size = varint(message); break;
    case 5: size = 4; break;
    default: fail("wire type %d in the MetaGraphDef", (int)(key & 7));
  }
  if (size > (size_t)(message->end - message->at)) fail("a field of the MetaGraphDef is cut off");
  content->at = message->at;
  content->end = message->at += size;
  return (int)(key >> 3);
}

static void copy(char *target, size_t size, Bytes text) {
  size_t length = (size_t)(text.end - text.at);
  if (length >= size) fail("a name of the signature has %zu bytes", length);
  memcpy(target, text.at, length);
  target[length] = 0;
}

/* An entry of map<string, TensorInfo>: key = 1, value = 2; TensorInfo: name = 1, dtype = 2. */
static void read_slot(Bytes entry, Slot *slot) {
  Bytes content, part;
  uint64_t value;
  for (int field; (field = next_field(&entry, &content, &value));) {
    if (field == 1) copy(slot->name, sizeof slot->name, content);
    if (field != 2) continue;
    for (int inner; (inner = next_field(&content, &part, &value));) {
      if (inner == 1) copy(slot->tensor, sizeof slot->tensor, part);
      if (inner == 2) slot->dtype = (TF_DataType)value;
    }
  }
}

/* MetaGraphDef.signature_def = 5, a map<string, SignatureDef>; SignatureDef: inputs = 1, outputs = 2. */
static int find_signature(const TF_Buffer *meta_graph, const char *wanted, Signature *signature) {
  Bytes graph = {meta_graph->data, (const uint8_t *)meta_graph->data + meta_graph->length};
  Bytes entry, content, slot;
  uint64_t value;
  for (int field; (field = next_field(&graph, &entry, &value));) {
    char name[256] = "";
    if (field != 5) continue;
    memset(signature, 0, sizeof *signature);
    for (int part; (part = next_field(&entry, &content, &value));) {
      if (part == 1) copy(name, sizeof name, content);
      if (part != 2) continue;
      for (int inner; (inner = next_field(&content, &slot, &value));) {
        int *count = inner == 1 ? &signature->n_inputs : &signature->n_outputs;
        if (inner != 1 && inner != 2) continue;
        if (*count == MAX_TENSORS) fail("the signature has more than %d tensors", MAX_TENSORS);
        read_slot(slot, (inner == 1 ? signature->inputs : signature->outputs) + (*count)++);
      }
    }
    if (!strcmp(name, wanted)) return 1;
  }
  return 0;
}

/* ---- Tensors from and to text. ---- */

static char *read_line(void) {
  if (!fgets(line, sizeof line, stdin)) return NULL;
  line[strcspn(line, "\n")] = 0;
  return line;
}

static void from_hexadecimal(TF_TString *target, const char *text) {
  size_t size = strlen(text) / 2;
  char *bytes = malloc(size + 1);
  for (size_t i = 0; i < size; i++) sscanf(text + 2 * i, "%2hhx", (unsigned char *)bytes + i);
  TF_StringInit(target);
  TF_StringCopy(target, bytes, size);
  free(bytes);
}

static void read_value(void *data, int64_t place, TF_DataType dtype) {
  const char *text = read_line();
  if (!text) fail("the request ends within a tensor");
  switch (dtype) {
    case TF_STRING: from_hexadecimal((TF_TString *)data + place, text); break;
    case TF_FLOAT: ((float *)data)[place] = strtof(text, NULL); break;
    case TF_DOUBLE: ((double *)data)[place] = strtod(text, NULL); break;
    case TF_INT32: ((int32_t *)data)[place] = (int32_t)strtol(text, NULL, 10); break;
    case TF_INT64: ((int64_t *)data)[place] = strtoll(text, NULL, 10); break;
    default: fail("dtype %d is not known here", dtype);
  }
}

/* Reads the block whose head stands in `line`. */
static TF_Tensor *read_tensor(const Slot *slot) {
  int64_t dimensions[MAX_DIMENSIONS], count = 1;
  int rank = 0;
  strtok(NULL, " "); /* the dtype; the signature's is taken */
  for (char *word; (word = strtok(NULL, " ")); count *= dimensions[rank++])
    if (rank == MAX_DIMENSIONS) fail("more than %d dimensions", MAX_DIMENSIONS);
    else dimensions[rank] = strtoll(word, NULL, 10);
  size_t size = (size_t)count * TF_DataTypeSize(slot->dtype);
  if (slot->dtype == TF_STRING) size = (size_t)count * sizeof(TF_TString);
  TF_Tensor *tensor = TF_AllocateTensor(slot->dtype, dimensions, rank, size);
  for (int64_t i = 0; i < count; i++) read_value(TF_TensorData(tensor), i, slot->dtype);
  return tensor;
}

static void write_tensor(const Slot *slot, const TF_Tensor *tensor) {
  const void *data = TF_TensorData(tensor);
  TF_DataType dtype = TF_TensorType(tensor);
  printf("%s %d", slot->name, dtype);
  for (int i = 0; i < TF_NumDims(tensor); i++) printf(" %" PRId64, TF_Dim(tensor, i));
  putchar('\n');
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    const TF_TString *text = (const TF_TString *)data + i;
    switch (dtype) {
      case TF_STRING:
        for (size_t j = 0; j < TF_StringGetSize(text); j++)
          printf("%02x", (unsigned char)TF_StringGetDataPointer(text)[j]);
        break;
      case TF_FLOAT: printf("%.9g", ((const float *)data)[i]); break;
      case TF_DOUBLE: printf("%.17g", ((const double *)data)[i]); break;
      case TF_INT32: printf("%" PRId32, ((const int32_t *)data)[i]); break;
      case TF_INT64: printf("%" PRId64, ((const int64_t *)data)[i]); break;
      case TF_BOOL: printf("%d", ((const unsigned char *)data)[i]); break;
      default: fail("dtype %d is not known here", dtype);
    }
    putchar('\n');
  }
}

/* The place of `name:index` in the graph. */
static TF_Output place(TF_Graph *graph, const Slot *slot) {
  char name[512];
  snprintf(name, sizeof name, "%s", slot->tensor);
  char *colon = strrchr(name, ':');
  TF_Output output = {NULL, colon ? atoi(colon + 1) : 0};
  if (colon) *colon = 0;
  output.oper = TF_GraphOperationByName(graph, name);
  if (!output.oper) fail("the graph has no operation %s", name);
  return output;
}

static void predict(TF_Session *session, TF_Graph *graph, const Signature *signature, TF_Status *status) {
  TF_Output feeds[MAX_TENSORS], fetches[MAX_TENSORS];
  TF_Tensor *values[MAX_TENSORS], *answers[MAX_TENSORS] = {NULL};
  int given = 0;
  while (read_line() && *line) {
    const char *name = strtok(line, " ");
    int i = 0;
    while (i < signature->n_inputs && strcmp(name, signature->inputs[i].name)) i++;
    if (i == signature->n_inputs) fail("the signature has no input %s", name);
    feeds[given] = place(graph, &signature->inputs[i]);
    values[given++] = read_tensor(&signature->inputs[i]);
  }
  if (given != signature->n_inputs) fail("%d inputs, and the signature has %d", given, signature->n_inputs);
  for (int i = 0; i < signature->n_outputs; i++) fetches[i] = place(graph, &signature->outputs[i]);
  TF_SessionRun(session, NULL, feeds, values, given, fetches, answers, signature->n_outputs, NULL, 0, NULL,
                status);
  check(status);
  for (int i = 0; i < signature->n_outputs; i++) write_tensor(&signature->outputs[i], answers[i]);
  putchar('\n');
  for (int i = 0; i < given; i++) TF_DeleteTensor(values[i]);
  for (int i = 0; i < signature->n_outputs; i++) TF_DeleteTensor(answers[i]);
}

/* Asks the signatures that follow a SavedModel, up to "--"; the number of arguments that it read. */
static int ask(int count, char **arguments, TF_Status *status) {
  const char *model = arguments[0], *tags[] = {"serve"};
  static Signature signature;
  int read = 1;
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Buffer *meta_graph = TF_NewBuffer();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, model, tags, 1, graph, meta_graph, status);
  check(status);
  for (; read < count && strcmp(arguments[read], "--"); read++) {
    if (!find_signature(meta_graph, arguments[read], &signature))
      fail("%s has no signature %s", model, arguments[read]);
    predict(session, graph, &signature, status);
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteGraph(graph);
  return read;
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage: %s MODEL_DIRECTORY SIGNATURE ... [-- MODEL_DIRECTORY SIGNATURE ...]", argv[0]);
  TF_Status *status = TF_NewStatus();
  for (int at = 1; at < argc; at++) at += ask(argc - at, argv + at, status);
  TF_DeleteStatus(status);
  return 0;
}
