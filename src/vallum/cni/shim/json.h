/* Enough of JSON to find four plain values at the top of a configuration, and to refuse what is no JSON object.
 *
 * It ignores what values mean; the agent decodes the same text again, with words for what is wrong. */

#define DEEPEST 128

static const char *spaces(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
        at++;
    return at;
}

/* Each walks behind what it is named after, and gives NULL where that does not stand. The text ends with a NUL. */
static const char *after_string(const char *at) {
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\' && (unsigned char)*++at < 0x20)
            return NULL;
    }
    return at + 1;
}

static const char *after_word(const char *at) {
    const char *start = at;
    while ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '+' || *at == '-' || *at == '.' ||
           *at == 'E')
        at++;
    return at == start ? NULL : at;
}

static const char *after_value(const char *at, int deep);

static const char *after_list(const char *at, char end, int deep) {
    at = spaces(at + 1);
    if (*at == end)
        return at + 1;
    while (at && deep < DEEPEST) {
        if (end == '}') {
            at = after_string(at);
            at = at ? spaces(at) : NULL;
            if (!at || *at++ != ':')
                return NULL;
        }
        at = after_value(spaces(at), deep + 1);
        at = at ? spaces(at) : NULL;
        if (!at || *at == end)
            return at ? at + 1 : NULL;
        if (*at != ',')
            return NULL;
        at = spaces(at + 1);
    }
    return NULL;
}

static const char *after_value(const char *at, int deep) {
    if (*at == '{')
        return after_list(at, '}', deep);
    if (*at == '[')
        return after_list(at, ']', deep);
    return *at == '"' ? after_string(at) : after_word(at);
}

static int is_object(const char *text) {
    const char *at = spaces(text);
    at = *at == '{' ? after_value(at, 0) : NULL;
    return at && *spaces(at) == 0;
}

/* The value of this key of an object that `is_object` has passed: where it starts, or NULL. The last one counts. */
static const char *value_of(const char *text, const char *key, size_t size) {
    const char *found = NULL, *at = spaces(spaces(text) + 1);
    while (*at != '}') {
        const char *name = at + 1;
        at = after_string(at);
        int same = (size_t)(at - 1 - name) == size && memcmp(name, key, size) == 0;
        at = spaces(spaces(at) + 1);
        if (same)
            found = at;
        at = spaces(after_value(at, 0));
        if (*at == ',')
            at = spaces(at + 1);
    }
    return found;
}
