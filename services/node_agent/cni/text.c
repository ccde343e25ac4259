/* Growing texts: what is sent, printed or written is put together here. */
#include "berth_cni.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_add(struct text *text, const char *bytes, size_t length)
{
    size_t needed = text->length + length + 1;
    if (needed > text->capacity) {
        size_t capacity = text->capacity ? text->capacity : 256;
        while (capacity < needed)
            capacity *= 2;
        char *grown = realloc(text->bytes, capacity);
        if (!grown) {
            /* Nothing is left to say it with in JSON; the runtime then shows stderr. */
            fputs("berth-cni: out of memory\n", stderr);
            exit(1);
        }
        text->bytes = grown;
        text->capacity = capacity;
    }
    if (length)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_number(struct text *text, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, number);
    text_add_string(text, digits);
}

void text_add_json(struct text *text, const char *bytes, size_t length)
{
    text_add(text, "\"", 1);
    size_t plain = 0; /* start of the bytes that need no escape and are not added yet */
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        text_add(text, bytes + plain, i - plain);
        plain = i + 1;
        if (byte == '"' || byte == '\\') {
            char escape[2] = {'\\', (char)byte};
            text_add(text, escape, sizeof escape);
        } else if (byte == '\n' || byte == '\t' || byte == '\r') {
            /* Two bytes, not six: the white space of a configuration, see CONFIG_BYTES_MAX. */
            text_add_string(text, byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : "\\r");
        } else {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", byte);
            text_add_string(text, escape);
        }
    }
    text_add(text, bytes + plain, length - plain);
    text_add(text, "\"", 1);
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}
