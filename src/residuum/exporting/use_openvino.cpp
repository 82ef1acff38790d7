// Answers for one picture with OpenVINO: use_openvino model.xml PICTURE.ppm
// g++ -std=c++17 use_openvino.cpp -I$OPENVINO/include -L$OPENVINO/libs -l:libopenvino.so -o use_openvino
// It never says "unsure", as use_openvino.py does.

#include <algorithm>
#include <fstream>
#include <iostream>
#include <limits>
#include <numeric>
#include <openvino/openvino.hpp>
#include <sstream>

// A binary PPM (P6, 8 bits) as a tensor of one picture: 1 × height × width × 3.
static ov::Tensor read_ppm(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    std::size_t width = 0, height = 0, most = 0;
    file >> kind >> width >> height >> most;
    file.get();
    if (kind != "P6" || most != 255) throw std::runtime_error("not a binary PPM of 8 bits");
    ov::Tensor picture(ov::element::u8, {1, height, width, 3});
    file.read(reinterpret_cast<char*>(picture.data<std::uint8_t>()), static_cast<std::streamsize>(picture.get_size()));
    return picture;
}

int main(int count, char** given) {
    if (count != 3) {
        std::cerr << "use_openvino model.xml PICTURE.ppm\n";
        return 2;
    }
    ov::Core core;
    const auto model = core.read_model(given[1]);
    std::istringstream names(model->get_rt_info<std::string>("classes"));
    std::vector<std::string> classes;
    for (std::string name; std::getline(names, name);) classes.push_back(name);
    auto compiled = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = compiled.create_infer_request();
    request.set_input_tensor(read_ppm(given[2]));
    request.infer();
    const float* shares = request.get_tensor("probabilities").data<const float>();
    std::vector<std::size_t> order(classes.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](auto one, auto other) { return shares[one] > shares[other]; });
    std::size_t answered = std::min<std::size_t>(5, order.size());
    if (model->has_rt_info("several"))   // labels a picture: those are called that reach a half
        answered = std::count_if(shares, shares + classes.size(), [](float share) { return share >= 0.5f; });
    for (std::size_t i = 0; i < answered; ++i)
        std::printf("%6.2f%%  %s\n", 100 * shares[order[i]], classes[order[i]].c_str());
    if (!answered) std::puts("no label is called: none is at least as likely as not");
}
