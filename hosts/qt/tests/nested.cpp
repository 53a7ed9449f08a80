// A loop inside a callback, as a modal dialog has it, and an application that quits.

#include <QCoreApplication>
#include <QEventLoop>
#include <QTimer>

extern "C" {

QEventLoop *nested_new() { return new QEventLoop; }
int nested_exec(QEventLoop *loop) { return loop->exec(); }
void nested_exit(QEventLoop *loop, int code) { loop->exit(code); }
void nested_delete(QEventLoop *loop) { delete loop; }

int application_exec() { return QCoreApplication::exec(); }
void application_quit_after(int milliseconds)
{
    QTimer::singleShot(milliseconds, QCoreApplication::instance(), [] { QCoreApplication::quit(); });
}
}
