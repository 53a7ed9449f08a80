// What the adapter asks of an application of wxWidgets. Source: the classes wxApp, wxDialog and wxWindow of its manual.

#include <gtk/gtk.h>
#include <wx/app.h>
#include <wx/dialog.h>
#include <wx/evtloop.h>
#include <wx/toplevel.h>

// OnRun, and not MainLoop, lets the application exit with its last frame.
extern "C" void ropewalk_wx_run(void *app)
{
    static_cast<wxApp *>(app)->OnRun();
}

// Closes modal dialogs, whose loops would sleep for ever. Messages and choosers of files are dialogs of GTK.
static void close_dialogs()
{
    GList *windows = gtk_window_list_toplevels();
    for (GList *window = windows; window; window = window->next) {
        if (GTK_IS_DIALOG(window->data) && gtk_window_get_modal(GTK_WINDOW(window->data)))
            gtk_dialog_response(GTK_DIALOG(window->data), GTK_RESPONSE_CANCEL);
    }
    g_list_free(windows);
    for (wxWindowList::iterator window = wxTopLevelWindows.begin(); window != wxTopLevelWindows.end(); ++window) {
        wxDialog *dialog = dynamic_cast<wxDialog *>(*window);
        if (dialog && dialog->IsModal())
            dialog->EndModal(wxID_CANCEL);
    }
}

// Ends the main loop, and the loops inside it.
extern "C" void ropewalk_wx_exit(void *app_pointer)
{
    wxApp *app = static_cast<wxApp *>(app_pointer);
    close_dialogs();
    if (wxEventLoopBase::GetActive() == app->GetMainLoop())
        return app->ExitMainLoop();
    // The main loop can only be ended when the loops inside it have returned.
    app->CallAfter([=] { ropewalk_wx_exit(app); });
}
