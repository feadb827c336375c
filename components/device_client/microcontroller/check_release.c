/* Checks a role file and a model as firmware does, on a computer:
 *
 *   check_release KEY TARGET VERSION SHA256 CAPACITY NOW ROLE MODEL
 *
 * KEY is a file with one or more public keys of 65 bytes, and VERSION and SHA256 are those of the installed model. The
 * exit status is an edgemill_status. It prints the version of the role file if the model may be installed. */
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
  device.key_count = read_file(arguments[1], &keys[0][0], sizeof keys) / EDGEMILL_KEY_BYTES;
  device.target = arguments[2];
  device.installed_version = (uint32_t)strtoul(arguments[3], NULL, 10);
  read_digest(arguments[4], device.installed_sha256);
  device.capacity = (uint32_t)strtoul(arguments[5], NULL, 10);
  device.now = (uint32_t)strtoul(arguments[6], NULL, 10);

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
