/* Feeds spoiled documents to the plugin's JSON reader and writer, in one process.
 *
 * usage: harness SEED SECONDS FILE...   each file is a document to begin from
 * Prints how many documents it has tried; a sanitizer ends it otherwise. */
#define _GNU_SOURCE
#include "berth_cni.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_BYTES_MAX 4096
#define SEEDS_MAX 16
#define BATCH 1024

static uint64_t state;

static uint32_t random_below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) % limit);
}

_Noreturn void fail(enum cni_code code, const char *message, const char *details)
{
    (void)code, (void)message, (void)details;
    abort(); /* neither reader nor writer may end the process */
}

static size_t spoil(char *bytes, size_t length)
{
    static const char signs[] = "{}[]\",:\\u0e-+.tfn \n\xff\xc0\xed\xa0";
    for (uint32_t left = 1 + random_below(6); left > 0 && length > 0; left--) {
        size_t at = random_below((uint32_t)length);
        switch (random_below(4)) {
        case 0:
            bytes[at] = (char)random_below(256);
            break;
        case 1:
            bytes[at] = signs[random_below(sizeof signs - 1)];
            break;
        case 2:
            length = at; /* cut off */
            break;
        default:
            if (length < DOCUMENT_BYTES_MAX) {
                memmove(bytes + at + 1, bytes + at, length - at);
                bytes[at] = signs[random_below(sizeof signs - 1)];
                length++;
            }
        }
    }
    return length;
}

static void try_document(const char *bytes, size_t length)
{
    struct json_member members[] = {{.key = "cniVersion"}, {.key = "name"}, {.key = "runDir"},
                                    {.key = "status"},     {.key = ""}};
    if (!json_object(bytes, length, members, 5))
        return;
    for (size_t i = 0; i < 5; i++) {
        struct text value = {0}, written = {0};
        double number;
        json_number(&members[i], &number);
        if (json_string(&members[i], &value)) {
            /* What was read can be written, and is a document again. */
            text_add_string(&written, "{\"\":");
            text_add_json(&written, value.bytes, value.length);
            text_add_string(&written, "}");
            if (!json_object(written.bytes, written.length, NULL, 0))
                abort();
        }
        text_free(&value);
        text_free(&written);
    }
}

static size_t read_file(const char *path, char *into)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        abort();
    size_t length = fread(into, 1, DOCUMENT_BYTES_MAX, file);
    fclose(file);
    return length;
}

int main(int count, char **arguments)
{
    if (count < 4 || count > SEEDS_MAX + 3)
        return 2;
    state = strtoull(arguments[1], NULL, 10) * 2654435761u + 1;
    int64_t until_ms = now_ms() + strtoll(arguments[2], NULL, 10) * 1000;
    static char seeds[SEEDS_MAX][DOCUMENT_BYTES_MAX];
    size_t lengths[SEEDS_MAX];
    int seed_count = count - 3;
    for (int i = 0; i < seed_count; i++)
        lengths[i] = read_file(arguments[i + 3], seeds[i]);
    unsigned long tried = 0;
    do {
        for (int i = 0; i < BATCH; i++, tried++) {
            int chosen = (int)random_below((uint32_t)seed_count);
            /* Of its very own size, so that one byte beyond is seen. */
            char *bytes = malloc(DOCUMENT_BYTES_MAX + 1);
            memcpy(bytes, seeds[chosen], lengths[chosen]);
            size_t length = spoil(bytes, lengths[chosen]);
            char *exact = malloc(length ? length : 1);
            memcpy(exact, bytes, length);
            free(bytes);
            try_document(exact, length);
            free(exact);
        }
    } while (now_ms() < until_ms);
    printf("%lu\n", tried);
    return 0;
}
