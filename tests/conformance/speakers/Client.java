// Speaks for the vendor's SDK for Java: reads lines "KEY ACTION JSON" and writes one line with the answer each.
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.tencentcloudapi.common.AbstractModel;
import com.tencentcloudapi.common.Credential;
import com.tencentcloudapi.common.exception.TencentCloudSDKException;
import com.tencentcloudapi.common.profile.ClientProfile;
import com.tencentcloudapi.common.profile.HttpProfile;
import com.tencentcloudapi.cvm.v20170312.CvmClient;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;

public class Client {
  static JsonObject answer(String endpoint, String secretId, String line) throws Exception {
    String[] parts = line.split("\t");
    HttpProfile http = new HttpProfile();
    http.setProtocol("http://");
    http.setEndpoint(endpoint);
    ClientProfile profile = new ClientProfile();
    profile.setHttpProfile(http);
    CvmClient client = new CvmClient(new Credential(secretId, parts[0]), "ap-guangzhou", profile);
    Method call =
        Arrays.stream(CvmClient.class.getMethods())
            .filter(method -> method.getName().equals(parts[1]))
            .findFirst()
            .orElseThrow();
    JsonObject found = new JsonObject();
    try {
      Object request = AbstractModel.fromJsonString(parts[2], call.getParameterTypes()[0].asSubclass(AbstractModel.class));
      Object answered = call.invoke(client, request);
      found.add("Answer", JsonParser.parseString(AbstractModel.toJsonString((AbstractModel) answered)));
    } catch (InvocationTargetException problem) {
      Throwable cause = problem.getCause();
      boolean isRefusal = cause instanceof TencentCloudSDKException;
      found.addProperty("Error", isRefusal ? ((TencentCloudSDKException) cause).getErrorCode() : cause.toString());
    }
    return found;
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(answer(arguments[0], arguments[1], line));
    }
  }
}
