#include "base/buf.h"

#include <stdio.h>

#include "tests/unit/check_util.h"

/* --- slices --- */

START_TEST(test_slice_eq)
{
    ck_assert(slice_eq(slice_str("abc"), slice_of("abcd", 3)));
    ck_assert(!slice_eq(slice_str("abc"), slice_str("abd")));
    ck_assert(!slice_eq(slice_str("abc"), slice_str("ab")));
    ck_assert(slice_eq(slice_of(NULL, 0), slice_str("")));
    ck_assert(!slice_eq(slice_of(NULL, 0), slice_str("a")));
    ck_assert(slice_eq(BYTES("a\0b"), BYTES("a\0b")));
    ck_assert(!slice_eq(BYTES("a\0b"), BYTES("a\0c")));
}
END_TEST

START_TEST(test_slice_is)
{
    ck_assert(slice_is(slice_str("amq.topic"), "amq.topic"));
    ck_assert(!slice_is(slice_str("amq.topic"), "amq.topi"));
    ck_assert(!slice_is(slice_str("amq.topi"), "amq.topic"));
    ck_assert(!slice_is(BYTES("a\0"), "a"));
    ck_assert(slice_is(slice_of(NULL, 0), ""));
}
END_TEST

START_TEST(test_slice_starts)
{
    ck_assert(slice_starts(slice_str("amq.topic"), "amq."));
    ck_assert(slice_starts(slice_str("amq."), "amq."));
    ck_assert(!slice_starts(slice_str("amq"), "amq."));
    ck_assert(!slice_starts(slice_str("bmq.topic"), "amq."));
    ck_assert(slice_starts(slice_str("x"), ""));
    ck_assert(slice_starts(slice_of(NULL, 0), ""));
    ck_assert(!slice_starts(slice_of(NULL, 0), "a"));
}
END_TEST

START_TEST(test_slice_fmt)
{
    char text[16];

    snprintf(text, sizeof text, "'%.*s'", SLICE_FMT(slice_of("abcd", 3)));
    ck_assert_str_eq(text, "'abc'");
    snprintf(text, sizeof text, "'%.*s'", SLICE_FMT(slice_of(NULL, 0)));
    ck_assert_str_eq(text, "''");
}
END_TEST

/* --- reading --- */

START_TEST(test_read_big_endian)
{
    struct reader r =
        reader_init(BYTES("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                          "ab"));

    ck_assert_uint_eq(read_u8(&r), 0x01);
    ck_assert_uint_eq(read_u16(&r), 0x0203);
    ck_assert_uint_eq(read_u32(&r), 0x04050607);
    ck_assert_uint_eq(read_u64(&r), 0x08090a0b0c0d0e0f);
    ck_assert_uint_eq(reader_left(&r), 2);
    ck_assert(!reader_done(&r));
    ck_assert_slice_eq(read_bytes(&r, 2), slice_str("ab"));
    ck_assert(reader_done(&r));
}
END_TEST

START_TEST(test_read_borrows)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    struct reader r = reader_init(slice_of(bytes, sizeof bytes));

    ck_assert_uint_eq(read_u8(&r), 1);
    ck_assert_ptr_eq(read_bytes(&r, 2).p, bytes + 1);
}
END_TEST

/* Reads `width` bytes where there are `n`. */
static uint64_t
read_width(struct reader *r, size_t width)
{
    switch (width) {
    case 1:
        return read_u8(r);
    case 2:
        return read_u16(r);
    case 4:
        return read_u32(r);
    default:
        return read_u64(r);
    }
}

static const size_t widths[] = {1, 2, 4, 8};

START_TEST(test_read_too_short)
{
    size_t width = widths[_i];

    for (size_t n = 0; n < width; n++) {
        uint8_t *bytes = exact_bytes(slice_of("\xff\xff\xff\xff\xff\xff\xff", n));
        struct reader r = reader_init(slice_of(bytes, n));
        ck_assert_uint_eq(read_width(&r, width), 0);
        ck_assert(r.bad);
        ck_assert(!reader_done(&r));
        ck_assert_uint_eq(reader_left(&r), 0);
        free(bytes);
    }
}
END_TEST

START_TEST(test_read_error_sticks)
{
    struct reader r = reader_init(BYTES("\001\002\003"));

    ck_assert_uint_eq(read_u32(&r), 0);
    ck_assert_uint_eq(read_u8(&r), 0);
    ck_assert_uint_eq(read_u16(&r), 0);
    ck_assert_uint_eq(read_u64(&r), 0);
    ck_assert_uint_eq(read_bytes(&r, 1).n, 0);
    ck_assert_uint_eq(read_bytes(&r, 0).n, 0);
    ck_assert(r.bad);
    ck_assert(!reader_done(&r));
}
END_TEST

/* A length from the wire as large as can be must not wrap around the end of the buffer. */
START_TEST(test_read_huge_length)
{
    static const size_t lengths[] = {4, UINT32_MAX, SIZE_MAX / 2, SIZE_MAX - 1, SIZE_MAX};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct reader r = reader_init(BYTES("abc"));
        struct slice s = read_bytes(&r, lengths[i]);
        ck_assert(r.bad);
        ck_assert_uint_eq(s.n, 0);
    }
}
END_TEST

START_TEST(test_read_nothing)
{
    struct reader r = reader_init(slice_of(NULL, 0));

    ck_assert(reader_done(&r));
    ck_assert_uint_eq(read_bytes(&r, 0).n, 0);
    ck_assert(reader_done(&r));
    ck_assert_uint_eq(read_u8(&r), 0);
    ck_assert(r.bad);
}
END_TEST

/* --- writing --- */

START_TEST(test_write_big_endian)
{
    uint8_t bytes[17];
    struct writer w = writer_init(bytes, sizeof bytes);

    write_u8(&w, 0x01);
    write_u16(&w, 0x0203);
    write_u32(&w, 0x04050607);
    write_u64(&w, 0x08090a0b0c0d0e0f);
    write_bytes(&w, slice_str("ab"));
    ck_assert(!w.bad);
    ck_assert_ptr_eq(w.p, w.end);
    ck_assert_mem_eq(bytes,
                     "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                     "ab",
                     sizeof bytes);
}
END_TEST

static void
write_width(struct writer *w, size_t width)
{
    switch (width) {
    case 1:
        write_u8(w, 0xff);
        break;
    case 2:
        write_u16(w, 0xffff);
        break;
    case 4:
        write_u32(w, UINT32_MAX);
        break;
    default:
        write_u64(w, UINT64_MAX);
    }
}

START_TEST(test_write_no_room)
{
    size_t width = widths[_i];

    for (size_t n = 0; n < width; n++) {
        uint8_t bytes[16] = {0};
        struct writer w = writer_init(bytes, n);
        write_width(&w, width);
        ck_assert(w.bad);
        for (size_t i = 0; i < sizeof bytes; i++)
            ck_assert_uint_eq(bytes[i], 0);
    }
}
END_TEST

START_TEST(test_write_error_sticks)
{
    uint8_t bytes[4] = {0};
    struct writer w = writer_init(bytes, sizeof bytes);

    write_u8(&w, 1);
    write_u32(&w, UINT32_MAX);
    write_u8(&w, 2);
    write_bytes(&w, slice_str("a"));
    ck_assert(w.bad);
    ck_assert_mem_eq(bytes, "\1\0\0\0", 4);
}
END_TEST

START_TEST(test_write_bytes)
{
    uint8_t bytes[3] = {0};
    struct writer w = writer_init(bytes, sizeof bytes);

    write_bytes(&w, slice_str("abc"));
    write_bytes(&w, slice_of(NULL, 0));
    ck_assert(!w.bad);
    write_bytes(&w, slice_str("d"));
    ck_assert(w.bad);

    w = writer_init(bytes, sizeof bytes);
    write_bytes(&w, slice_of("", SIZE_MAX));
    ck_assert(w.bad);
    ck_assert_mem_eq(bytes, "abc", 3);
}
END_TEST

/* What put writes, get reads, at any alignment. */
START_TEST(test_put_get)
{
    uint8_t bytes[16];

    for (size_t at = 0; at < 8; at++) {
        put_u16(bytes + at, 0xfedc);
        ck_assert_uint_eq(get_u16(bytes + at), 0xfedc);
        put_u32(bytes + at, 0xfedcba98);
        ck_assert_uint_eq(get_u32(bytes + at), 0xfedcba98);
        put_u64(bytes + at, 0xfedcba9876543210);
        ck_assert_uint_eq(get_u64(bytes + at), 0xfedcba9876543210);
        ck_assert_uint_eq(bytes[at], 0xfe);
        ck_assert_uint_eq(bytes[at + 7], 0x10);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tc = tcase_create("slice");

    tcase_add_test(tc, test_slice_eq);
    tcase_add_test(tc, test_slice_is);
    tcase_add_test(tc, test_slice_starts);
    tcase_add_test(tc, test_slice_fmt);
    suite_add_tcase(suite, tc);

    tc = tcase_create("reader");
    tcase_add_test(tc, test_read_big_endian);
    tcase_add_test(tc, test_read_borrows);
    tcase_add_loop_test(tc, test_read_too_short, 0, sizeof widths / sizeof *widths);
    tcase_add_test(tc, test_read_error_sticks);
    tcase_add_test(tc, test_read_huge_length);
    tcase_add_test(tc, test_read_nothing);
    suite_add_tcase(suite, tc);

    tc = tcase_create("writer");
    tcase_add_test(tc, test_write_big_endian);
    tcase_add_loop_test(tc, test_write_no_room, 0, sizeof widths / sizeof *widths);
    tcase_add_test(tc, test_write_error_sticks);
    tcase_add_test(tc, test_write_bytes);
    tcase_add_test(tc, test_put_get);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
