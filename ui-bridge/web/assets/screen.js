// Draws 16-bit counts with a window, by their logarithm or as they are, on the GPU: one R16UI texture, one triangle, no copy in between.

const VERTEX = `#version 300 es
void main() {
  vec2 corner = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
  gl_Position = vec4(2.0 * corner - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp usampler2D;
uniform usampler2D counts;
uniform vec2 range;
uniform bool linear;
uniform bool inverted;
out vec4 colour;
void main() {
  ivec2 size = textureSize(counts, 0);
  ivec2 at = ivec2(int(gl_FragCoord.x), size.y - 1 - int(gl_FragCoord.y));
  float count = float(texelFetch(counts, at, 0).r);
  vec2 ends = linear ? range : log(max(range, 1.0));
  float value = linear ? count : log(max(count, 1.0));
  float grey = clamp((value - ends.x) / max(ends.y - ends.x, 1e-6), 0.0, 1.0);
  colour = vec4(vec3(inverted ? 1.0 - grey : grey), 1.0);
}`;

export class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
    if (!this.gl) throw new Error("expected a browser with WebGL2, found one without");
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.prepare());
    this.prepare();
  }

  prepare() {
    const gl = this.gl;
    const shader = (kind, source) => {
      const made = gl.createShader(kind);
      gl.shaderSource(made, source);
      gl.compileShader(made);
      return made;
    };
    const program = gl.createProgram();
    gl.attachShader(program, shader(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, shader(gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.range = gl.getUniformLocation(program, "range");
    this.linear = gl.getUniformLocation(program, "linear");
    this.inverted = gl.getUniformLocation(program, "inverted");
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 2);
    this.columns = 0;
    this.rows = 0;
  }

  // Shows `counts` of `columns` by `rows`; without counts, the image that is there with another window.
  draw(image, { low, high, linear, inverted }) {
    const gl = this.gl;
    if (image) {
      const { columns, rows, counts } = image;
      if (columns !== this.columns || rows !== this.rows) {
        [this.columns, this.rows] = [columns, rows];
        [this.canvas.width, this.canvas.height] = [columns, rows];
        gl.viewport(0, 0, columns, rows);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.R16UI, columns, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_SHORT, counts);
      } else {
        gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, columns, rows, gl.RED_INTEGER, gl.UNSIGNED_SHORT, counts);
      }
    }
    if (!this.columns) return;
    gl.uniform2f(this.range, low, high);
    gl.uniform1i(this.linear, linear ? 1 : 0);
    gl.uniform1i(this.inverted, inverted ? 1 : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}
