/* pyrunc as an executable: a CPython that has already started, with pyrunc's modules in it (docs/design.md, "The image").
 *
 * This program runs twice. When it is built, as the stage: it initialises the interpreter completely, lets stage.py import what belongs to the
 * image, gives the interpreter up as before blocking, and writes its writable memory to a file. tools/build_embedded.py makes that
 * memory the data of a second executable, in which `entry` is set: main takes the interpreter, as after fork(2), brings in what belongs to
 * this process (arguments, environment, signals) and calls it. Only the public API of CPython is used.
 *
 * build_embedded.py defines EXECUTABLE, PREFIX, EXEC_PREFIX, STDLIB and DYNLOAD, the interpreter that cold code is to believe in and its
 * directories, and writes `extensions`, modules of CPython's that are shared objects elsewhere, and `image_pieces`, their writable memory.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <marshal.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "heap.h"

extern struct _inittab extensions[];

static PyObject *entry, *environment;
static PyThreadState *thread;
static PyOS_sighandler_t interrupt;

/* Debian's libpython3.13.a lacks the code that _sha2 is only a shell of (libHacl_Hash_SHA2.a). The linker (--wrap) takes this in its place;
 * hashlib then uses OpenSSL's. */
PyObject *__wrap_PyInit__sha2(void);

PyObject *
__wrap_PyInit__sha2(void)
{
    PyErr_SetString(PyExc_ImportError, "_sha2 is not embedded");
    return NULL;
}

/* become_subreaper(): prctl(2), PR_SET_CHILD_SUBREAPER; only the process itself can do it. */
static PyObject *
become_subreaper(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* place(object, heap): for the stage, in which heap the memory of an object had better lie (heap.h). */
static PyObject *
place(PyObject *self, PyObject *arguments)
{
    PyObject *object;
    int heap;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "Oi", &object, &heap))
        return NULL;
    if (!saved)
        note_place(object, heap);
    Py_RETURN_NONE;
}

/* immortal(object): from CPython 3.12 on, nobody counts references to it any more. */
static PyObject *
immortal(PyObject *self, PyObject *object)
{
    (void)self;
#if PY_VERSION_HEX >= 0x030C0000
    if (!saved)
        Py_SET_REFCNT(object, Py_REFCNT(Py_None));
#else
    (void)object;
#endif
    Py_RETURN_NONE;
}

static PyObject *
module(void)
{
    static PyMethodDef functions[] = {
        {"become_subreaper", become_subreaper, METH_NOARGS, NULL},
        {"place", place, METH_VARARGS, NULL},
        {"immortal", immortal, METH_O, NULL},
        {NULL, NULL, 0, NULL},
    };
    static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_embedded", NULL, -1, functions, NULL, NULL, NULL, NULL};
    return PyModule_Create(&definition);
}

/* As `python -I -S -B -X utf8`, with nothing left to be found out. seed: of the hashes of strings. */
static PyStatus
initialize(unsigned long seed)
{
    PyPreConfig pre;
    PyConfig config;
    PyStatus status;

    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    status = Py_PreInitialize(&pre);
    if (PyStatus_Exception(status))
        return status;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 1;
    config.pathconfig_warnings = 0;
    config.module_search_paths_set = 1;
    config.use_hash_seed = 1;
    config.hash_seed = seed;
#define TRY(call)                         \
    do {                                  \
        status = (call);                  \
        if (PyStatus_Exception(status)) { \
            PyConfig_Clear(&config);      \
            return status;                \
        }                                 \
    } while (0)
    TRY(PyConfig_SetBytesString(&config, &config.executable, EXECUTABLE));
    TRY(PyConfig_SetBytesString(&config, &config.base_executable, EXECUTABLE));
    TRY(PyConfig_SetBytesString(&config, &config.prefix, PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.base_prefix, PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.exec_prefix, EXEC_PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.base_exec_prefix, EXEC_PREFIX));
    TRY(PyConfig_SetBytesString(&config, &config.stdlib_dir, STDLIB));
    TRY(PyWideStringList_Append(&config.module_search_paths, L"" STDLIB));
    TRY(PyWideStringList_Append(&config.module_search_paths, L"" DYNLOAD));
    TRY(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    return status;
}

/* Read FILE, a marshalled tuple of stage.py's code and what it wants to be given, and run it; it leaves `entry`. `settle` is called when
 * what only the stage needed is gone. */
static int
load(const char *file)
{
    FILE *stream = fopen(file, "rb");
    PyObject *given = stream ? PyMarshal_ReadLastObjectFromFile(stream) : NULL;
    PyObject *globals, *result, *settle, *posix;

    if (!given || !(globals = PyDict_New()) || PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) ||
        PyDict_SetItemString(globals, "given", PyTuple_GetItem(given, 1)) ||
        !(result = PyEval_EvalCode(PyTuple_GetItem(given, 0), globals, globals)))
        return -1;
    fclose(stream);
    Py_DECREF(result);
    Py_DECREF(given);
    Py_XINCREF(entry = PyDict_GetItemString(globals, "start"));
    Py_XINCREF(settle = PyDict_GetItemString(globals, "settle"));
    Py_DECREF(globals);
    if (!entry || !settle || !(result = PyObject_CallNoArgs(settle)))
        return -1;
    Py_DECREF(result);
    Py_DECREF(settle);
    if (!(posix = PyImport_ImportModule("posix")))
        return -1;
    environment = PyObject_GetAttrString(posix, "environ");
    Py_DECREF(posix);
    return environment ? 0 : -1;
}

/* Append a piece of memory to the file: its address, its size, and what is there. */
static int
write_piece(int file, const char *from, const char *to)
{
    uint64_t head[2] = {(uintptr_t)from, (uint64_t)(to - from)};

    if (write(file, head, sizeof head) != sizeof head)
        return -1;
    while (from < to) {
        ssize_t written = write(file, from, (size_t)(to - from));
        if (written <= 0)
            return -1;
        from += written;
    }
    return 0;
}

/* CPython's allocators of small objects, as they are at run time. In the stage each object is a block of malloc; what is allocated when the stage
 * ends, or for CPython itself, lies in its arenas, which are memory of the image as well. */
static PyMemAllocatorEx small[2];

static void
malloc_alone(void)
{
    PyObjectArenaAllocator arenas = {NULL, take_arena, give_arena};
    PyMemAllocatorEx raw;

    PyObject_SetArenaAllocator(&arenas);
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw);
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &small[0]);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &small[1]);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &raw);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &raw);
}

/* stage MODULES SEED OUTPUT PLACES NOTED: OUTPUT becomes the pieces of memory that an executable starts with. PLACES, NOTED: see heap.h. */
static int
stage(int argc, char **argv)
{
    extern char __data_start[], _end[];
    extern char *image_pieces[];
    PyStatus status;
    char **piece;
    int file, failed, i;

    if (argc != 6)
        return 2;
    malloc_alone();
    if (read_places(argv[4]))
        return 1;
    if (PyImport_AppendInittab("_embedded", module) || PyImport_ExtendInittab(extensions))
        return 1;
    status = initialize(strtoul(argv[2], NULL, 10));
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    if (load(argv[1])) {
        PyErr_Print();
        return 1;
    }
    if (write_places(argv[5]))
        return 1;
    interrupt = PyOS_getsig(SIGINT);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &small[0]);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &small[1]);
    thread = PyEval_SaveThread();
    saved = 1;
    file = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    failed = file < 0 || write_piece(file, __data_start, _end);
    for (i = 0; !failed && i < HEAPS; i++)
        failed = write_piece(file, heaps[i].start, heaps[i].top);
    for (piece = image_pieces; !failed && *piece; piece += 2)
        failed = write_piece(file, piece[0], piece[1]);
    if (failed)
        perror("stage");
    _exit(failed);
}

/* sys.argv and posix.environ. */
static int
bring_in(int argc, char **argv, char **environ)
{
    PyObject *list = PyList_New(argc);
    int i, failed;

    for (i = 0; list && i < argc; i++) {
        PyObject *word = PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]), "surrogateescape");
        if (!word)
            return -1;
        PyList_SET_ITEM(list, i, word);
    }
    if (!list || PySys_SetObject("argv", list))
        return -1;
    Py_DECREF(list);
    for (; *environ; environ++) {
        const char *equals = strchr(*environ, '=');
        PyObject *name, *value;
        if (!equals)
            continue;
        name = PyBytes_FromStringAndSize(*environ, equals - *environ);
        value = PyBytes_FromString(equals + 1);
        /* The first of two counts, as for getenv(3). */
        failed = !name || !value || !PyDict_SetDefault(environment, name, value);
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

/* The exit status for what comes before cli.main, which tells everything itself. */
static long
failed(void)
{
    static const char memory[] = "pyrunc failed: start: cannot allocate memory\n";

    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return 130;
    if (!PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Print();
    else if (write(STDERR_FILENO, memory, sizeof memory - 1) < 0)
        return 1;
    return 1;
}

int
main(int argc, char **argv, char **environ)
{
    PyObject *result;
    long code;

    if (!saved)
        return stage(argc, argv);
    PyEval_RestoreThread(thread);
    /* Identities of threads, keys of thread-specific data, locks: as in the child of a fork. */
    PyOS_BeforeFork();
    PyOS_AfterFork_Child();
    /* As Python sets them up; an ignored SIGINT stays so. */
    PyOS_setsig(SIGPIPE, SIG_IGN);
    PyOS_setsig(SIGXFSZ, SIG_IGN);
    if (PyOS_getsig(SIGINT) == SIG_DFL)
        PyOS_setsig(SIGINT, interrupt);
    result = bring_in(argc, argv, environ) ? NULL : PyObject_CallNoArgs(entry);
    code = result ? PyLong_AsLong(result) : -1;
    if (PyErr_Occurred())
        code = failed();
    /* No interpreter is taken down: the kernel is faster. stage.py has flushed what is buffered. */
    _exit((int)(code & 0xff));
}
