/* Checks a role file and a model as firmware does, on a computer:
 *
 *   check_release KEY TARGET VERSION SHA256 CAPACITY NOW ROLE MODEL
 *
 * KEY is a file with up to four public keys of 65 bytes, and VERSION and SHA256 are those of the installed model. The
 * exit status is an edgemill_status, or 64 if an argument can't be used. It prints the version of the role file if the
 * model may be installed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role_check.h"

#define MOST_KEYS 4
#define MOST_ROLE_BYTES 4096
#define USAGE 64

static size_t read_file(const char *path, uint8_t *content, size_t most) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(USAGE);
  }
  const size_t found = fread(content, 1, most, file);
  fclose(file);
  return found;
}

static uint32_t read_number(const char *text) {
  char *end;
  errno = 0;
  const unsigned long long found = strtoull(text, &end, 10);
  /* strtoull skips spaces, and takes a sign. */
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || found > UINT32_MAX) {
    fprintf(stderr, "%s: not a number from 0 to %lu\n", text, (unsigned long)UINT32_MAX);
    exit(USAGE);
  }
  return (uint32_t)found;
}

static size_t read_keys(const char *path, uint8_t keys[MOST_KEYS][EDGEMILL_KEY_BYTES]) {
  uint8_t content[MOST_KEYS * EDGEMILL_KEY_BYTES + 1];
  const size_t bytes = read_file(path, content, sizeof content);
  if (bytes == 0 || bytes == sizeof content || bytes % EDGEMILL_KEY_BYTES != 0) {
    fprintf(stderr, "%s: not 1 to %d public keys of %d bytes\n", path, MOST_KEYS, EDGEMILL_KEY_BYTES);
    exit(USAGE);
  }
  memcpy(keys, content, bytes);
  return bytes / EDGEMILL_KEY_BYTES;
}

static void read_digest(const char *text, uint8_t digest[EDGEMILL_DIGEST_BYTES]) {
  for (size_t index = 0; index < EDGEMILL_DIGEST_BYTES; index++) {
    unsigned int byte;
    if (strlen(text) != 2 * EDGEMILL_DIGEST_BYTES || sscanf(text + 2 * index, "%2x", &byte) != 1) {
      fprintf(stderr, "%s: not a SHA-256 digest\n", text);
      exit(USAGE);
    }
    digest[index] = (uint8_t)byte;
  }
}

static edgemill_status check_model(const edgemill_role *role, const char *path) {
  edgemill_model_check check;
  uint8_t part[256];
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(USAGE);
  }
  edgemill_status status = edgemill_model_begin(&check, role);
  if (status == EDGEMILL_OK) {
    size_t found;
    while ((found = fread(part, 1, sizeof part, file)) > 0 && status == EDGEMILL_OK) {
      status = edgemill_model_add(&check, part, found);
    }
    status = edgemill_model_end(&check);
  }
  fclose(file);
  return status;
}

int main(int count, char **arguments) {
  static uint8_t keys[MOST_KEYS][EDGEMILL_KEY_BYTES];
  edgemill_device device = {0};
  edgemill_role role;
  if (count != 9) {
    fprintf(stderr, "usage: %s KEY TARGET VERSION SHA256 CAPACITY NOW ROLE MODEL\n", arguments[0]);
    return USAGE;
  }
  device.keys = (const uint8_t(*)[EDGEMILL_KEY_BYTES])keys;
  device.key_count = read_keys(arguments[1], keys);
  device.target = arguments[2];
  device.installed_version = read_number(arguments[3]);
  read_digest(arguments[4], device.installed_sha256);
  device.capacity = read_number(arguments[5]);
  device.now = read_number(arguments[6]);

  /* A block of the file's own size, so that a memory checker notices a read behind its end. */
  uint8_t *read = malloc(MOST_ROLE_BYTES);
  if (read == NULL) {
    return EDGEMILL_FAILED;
  }
  const size_t bytes = read_file(arguments[7], read, MOST_ROLE_BYTES);
  uint8_t *file = malloc(bytes ? bytes : 1);
  if (file == NULL) {
    free(read);
    return EDGEMILL_FAILED;
  }
  memcpy(file, read, bytes);
  free(read);
  edgemill_status status = edgemill_check_role(&device, file, bytes, &role);
  free(file);
  if (status == EDGEMILL_OK) {
    status = check_model(&role, arguments[8]);
  }
  if (status == EDGEMILL_OK) {
    printf("%lu\n", (unsigned long)role.version);
  }
  return status;
}
