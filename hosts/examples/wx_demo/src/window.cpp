// A window with a log and a field. Rust is called with each line that is typed.

#include <wx/wx.h>

typedef void (*Typed)(void *context, const char *line);
typedef void (*Call)(void *argument);

class Window : public wxFrame {
public:
    Window(const wxString &title, Typed typed, void *context)
        : wxFrame(nullptr, wxID_ANY, title, wxDefaultPosition, wxSize(360, 240))
    {
        log = new wxTextCtrl(this, wxID_ANY, "", wxDefaultPosition, wxDefaultSize, wxTE_MULTILINE | wxTE_READONLY);
        field = new wxTextCtrl(this, wxID_ANY, "", wxDefaultPosition, wxDefaultSize, wxTE_PROCESS_ENTER);
        wxBoxSizer *column = new wxBoxSizer(wxVERTICAL);
        column->Add(log, 1, wxEXPAND);
        column->Add(field, 0, wxEXPAND);
        SetSizer(column);
        field->Bind(wxEVT_TEXT_ENTER, [=](wxCommandEvent &) {
            wxString line = field->GetValue();
            field->Clear();
            typed(context, line.utf8_str());
        });
        field->SetFocus();
    }

    wxTextCtrl *log;
    wxTextCtrl *field;
};

// The window may be closed while connections still end.
static wxWeakRef<Window> window;

extern "C" void *demo_open(const char *title, Typed typed, void *context)
{
    static int argc = 0;
    static char *argv[] = { nullptr };
    wxApp::SetInstance(new wxApp);
    if (!wxEntryStart(argc, argv))
        return nullptr;
    wxTheApp->CallOnInit();
    window = new Window(wxString::FromUTF8(title), typed, context);
    window->Show();
    return wxTheApp;
}

extern "C" void demo_append(const char *line)
{
    if (window)
        window->log->AppendText(wxString::FromUTF8(line) + "\n");
}

extern "C" int demo_ask(const char *question)
{
    wxMessageDialog dialog(window, wxString::FromUTF8(question), "Question", wxYES_NO);
    return dialog.ShowModal() == wxID_YES;
}

extern "C" void demo_show(const char *text)
{
    wxDialog dialog(window, wxID_ANY, wxString::FromUTF8(text));
    dialog.ShowModal();
}

// May be called in any thread. The call is made in the thread of the window.
extern "C" void demo_call_after(Call call, void *argument)
{
    wxTheApp->CallAfter([=] { call(argument); });
}

extern "C" void demo_main_loop()
{
    wxTheApp->OnRun();
}

extern "C" void demo_close()
{
    wxEntryCleanup();
}
