/* A checking scanner for JSON: no tree is built, only the few members asked for are found. */
#include "berth_cni.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64 /* results nest five deep; the stack must survive what is hostile */

struct cursor {
    const char *at;
    const char *end;
    int depth;
};

static bool scan_value(struct cursor *cursor, enum json_kind *kind);

static int peek(const struct cursor *cursor)
{
    return cursor->at < cursor->end ? (unsigned char)*cursor->at : -1;
}

static bool take(struct cursor *cursor, int wanted)
{
    if (peek(cursor) != wanted)
        return false;
    cursor->at++;
    return true;
}

static void skip_space(struct cursor *cursor)
{
    int byte;
    while ((byte = peek(cursor)) == ' ' || byte == '\t' || byte == '\n' || byte == '\r')
        cursor->at++;
}

static int hex_digit(int byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

static uint32_t hex_word(const char *digits)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++)
        word = word << 4 | (uint32_t)hex_digit((unsigned char)digits[i]);
    return word;
}

static bool scan_hex_word(struct cursor *cursor, uint32_t least, uint32_t most)
{
    const char *start = cursor->at;
    for (int i = 0; i < 4; i++, cursor->at++)
        if (hex_digit(peek(cursor)) < 0)
            return false;
    return hex_word(start) >= least && hex_word(start) <= most;
}

/* Half a surrogate pair is no character: the agent's parser refuses it as well. */
static bool scan_escape(struct cursor *cursor)
{
    int byte = peek(cursor);
    if (byte <= 0 || !strchr("\"\\/bfnrtu", byte))
        return false;
    cursor->at++;
    if (byte != 'u')
        return true;
    const char *digits = cursor->at;
    if (!scan_hex_word(cursor, 0, 0xFFFF) || (hex_word(digits) & 0xFC00) == 0xDC00)
        return false;
    if ((hex_word(digits) & 0xFC00) != 0xD800)
        return true;
    return take(cursor, '\\') && take(cursor, 'u') && scan_hex_word(cursor, 0xDC00, 0xDFFF);
}

/* One character beyond ASCII: no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool scan_utf8(struct cursor *cursor)
{
    int first = peek(cursor);
    int follow = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4)
        return false;
    cursor->at++;
    for (int i = 0; i < follow; i++, cursor->at++) {
        int byte = peek(cursor);
        int low = 0x80, high = 0xBF;
        if (i == 0 && first == 0xE0)
            low = 0xA0;
        if (i == 0 && first == 0xED)
            high = 0x9F;
        if (i == 0 && first == 0xF0)
            low = 0x90;
        if (i == 0 && first == 0xF4)
            high = 0x8F;
        if (byte < low || byte > high)
            return false;
    }
    return true;
}

static bool scan_string(struct cursor *cursor)
{
    if (!take(cursor, '"'))
        return false;
    for (;;) {
        int byte = peek(cursor);
        if (byte < 0x20) /* also the end of the document */
            return false;
        if (byte >= 0x80) {
            if (!scan_utf8(cursor))
                return false;
            continue;
        }
        cursor->at++;
        if (byte == '"')
            return true;
        if (byte == '\\' && !scan_escape(cursor))
            return false;
    }
}

static bool scan_digits(struct cursor *cursor)
{
    const char *start = cursor->at;
    while (peek(cursor) >= '0' && peek(cursor) <= '9')
        cursor->at++;
    return cursor->at > start;
}

static bool scan_number(struct cursor *cursor)
{
    take(cursor, '-');
    if (!take(cursor, '0') && !scan_digits(cursor))
        return false;
    if (take(cursor, '.') && !scan_digits(cursor))
        return false;
    if (take(cursor, 'e') || take(cursor, 'E')) {
        if (!take(cursor, '+'))
            take(cursor, '-');
        return scan_digits(cursor);
    }
    return true;
}

static bool scan_word(struct cursor *cursor, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, word, length) != 0)
        return false;
    cursor->at += length;
    return true;
}

static struct json_member *find_member(struct json_member *members, size_t count,
                                       const struct json_member *key)
{
    struct text name = {0};
    struct json_member *found = NULL;
    json_string(key, &name);
    for (size_t i = 0; i < count && !found; i++)
        if (strlen(members[i].key) == name.length &&
            memcmp(members[i].key, name.bytes, name.length) == 0)
            found = &members[i];
    text_free(&name);
    return found;
}

static bool scan_member(struct cursor *cursor, struct json_member *members, size_t count)
{
    struct json_member key = {.kind = JSON_STRING, .at = cursor->at};
    if (!scan_string(cursor))
        return false;
    key.length = (size_t)(cursor->at - key.at);
    skip_space(cursor);
    if (!take(cursor, ':'))
        return false;
    skip_space(cursor);

    const char *value = cursor->at;
    enum json_kind kind;
    if (!scan_value(cursor, &kind))
        return false;
    struct json_member *wanted = count ? find_member(members, count, &key) : NULL;
    if (wanted) {
        wanted->kind = kind;
        wanted->at = value;
        wanted->length = (size_t)(cursor->at - value);
    }
    return true;
}

static bool scan_object(struct cursor *cursor, struct json_member *members, size_t count)
{
    if (!take(cursor, '{') || ++cursor->depth > DEPTH_MAX)
        return false;
    skip_space(cursor);
    if (take(cursor, '}')) {
        cursor->depth--;
        return true;
    }
    do {
        skip_space(cursor);
        if (!scan_member(cursor, members, count))
            return false;
        skip_space(cursor);
    } while (take(cursor, ','));
    cursor->depth--;
    return take(cursor, '}');
}

static bool scan_array(struct cursor *cursor)
{
    if (!take(cursor, '[') || ++cursor->depth > DEPTH_MAX)
        return false;
    skip_space(cursor);
    if (take(cursor, ']')) {
        cursor->depth--;
        return true;
    }
    do {
        enum json_kind kind;
        skip_space(cursor);
        if (!scan_value(cursor, &kind))
            return false;
        skip_space(cursor);
    } while (take(cursor, ','));
    cursor->depth--;
    return take(cursor, ']');
}

static bool scan_value(struct cursor *cursor, enum json_kind *kind)
{
    *kind = JSON_OTHER;
    switch (peek(cursor)) {
    case '{':
        return scan_object(cursor, NULL, 0);
    case '[':
        return scan_array(cursor);
    case '"':
        *kind = JSON_STRING;
        return scan_string(cursor);
    case 't':
        *kind = JSON_TRUE;
        return scan_word(cursor, "true");
    case 'f':
        *kind = JSON_FALSE;
        return scan_word(cursor, "false");
    case 'n':
        return scan_word(cursor, "null");
    default:
        *kind = JSON_NUMBER;
        return scan_number(cursor);
    }
}

bool json_object(const char *bytes, size_t length, struct json_member *members, size_t count)
{
    struct cursor cursor = {.at = bytes, .end = bytes + length};
    skip_space(&cursor);
    if (!scan_object(&cursor, members, count))
        return false;
    skip_space(&cursor);
    return cursor.at == cursor.end;
}

static void add_character(struct text *into, uint32_t point)
{
    char bytes[4];
    size_t length;
    if (point < 0x80) {
        bytes[0] = (char)point;
        length = 1;
    } else if (point < 0x800) {
        bytes[0] = (char)(0xC0 | point >> 6);
        length = 2;
    } else if (point < 0x10000) {
        bytes[0] = (char)(0xE0 | point >> 12);
        length = 3;
    } else {
        bytes[0] = (char)(0xF0 | point >> 18);
        length = 4;
    }
    for (size_t i = 1; i < length; i++)
        bytes[i] = (char)(0x80 | (point >> 6 * (length - 1 - i) & 0x3F));
    text_add(into, bytes, length);
}

/* `at` stands behind "\u"; returns how many bytes belong to the character. */
static size_t add_unicode_escape(struct text *into, const char *at)
{
    uint32_t first = hex_word(at);
    if ((first & 0xFC00) != 0xD800) {
        add_character(into, first);
        return 4;
    }
    uint32_t second = hex_word(at + 6);
    add_character(into, 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
    return 10;
}

bool json_string(const struct json_member *member, struct text *into)
{
    if (member->kind != JSON_STRING)
        return false;
    const char *at = member->at + 1, *end = member->at + member->length - 1;
    text_add(into, "", 0);
    while (at < end) {
        const char *plain = at;
        while (at < end && *at != '\\')
            at++;
        text_add(into, plain, (size_t)(at - plain));
        if (at == end)
            break;
        char kind = at[1];
        at += 2;
        if (kind == 'u') {
            at += add_unicode_escape(into, at);
        } else {
            const char *names = "bfnrt", *values = "\b\f\n\r\t";
            const char *known = strchr(names, kind);
            text_add(into, known ? values + (known - names) : &kind, 1);
        }
    }
    return true;
}

bool json_number(const struct json_member *member, double *number)
{
    char digits[32];
    if (member->kind != JSON_NUMBER || member->length >= sizeof digits)
        return false;
    memcpy(digits, member->at, member->length);
    digits[member->length] = '\0';
    *number = strtod(digits, NULL);
    return true;
}
